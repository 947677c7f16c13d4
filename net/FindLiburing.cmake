# Finds liburing, which comes without a CMake package: target liburing::liburing.
find_path(LIBURING_INCLUDE_DIR liburing.h)
find_library(LIBURING_LIBRARY uring)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Liburing REQUIRED_VARS LIBURING_LIBRARY LIBURING_INCLUDE_DIR)
mark_as_advanced(LIBURING_INCLUDE_DIR LIBURING_LIBRARY)

if(Liburing_FOUND AND NOT TARGET liburing::liburing)
  add_library(liburing::liburing INTERFACE IMPORTED)
  set_target_properties(liburing::liburing PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${LIBURING_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "${LIBURING_LIBRARY}")
endif()

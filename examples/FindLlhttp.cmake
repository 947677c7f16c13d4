# Finds llhttp, the HTTP/1 parser: target llhttp::llhttp. Newer Debian has it as a library (libllhttp-dev); Debian 12
# ships its C sources (node-llhttp), which are compiled here.
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATH_SUFFIXES llhttp PATHS /usr/share/include/llhttp)
find_library(LLHTTP_LIBRARY llhttp)
find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp)
if(LLHTTP_INCLUDE_DIR)
  file(STRINGS ${LLHTTP_INCLUDE_DIR}/llhttp.h llhttp_version_lines REGEX "define LLHTTP_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX MATCHALL "[0-9]+" llhttp_version_numbers "${llhttp_version_lines}")
  list(JOIN llhttp_version_numbers "." Llhttp_VERSION)
endif()

include(FindPackageHandleStandardArgs)
if(LLHTTP_LIBRARY)
  find_package_handle_standard_args(Llhttp REQUIRED_VARS LLHTTP_LIBRARY LLHTTP_INCLUDE_DIR VERSION_VAR Llhttp_VERSION)
else()
  find_package_handle_standard_args(Llhttp REQUIRED_VARS LLHTTP_SOURCE_DIR LLHTTP_INCLUDE_DIR VERSION_VAR Llhttp_VERSION)
endif()
mark_as_advanced(LLHTTP_INCLUDE_DIR LLHTTP_LIBRARY LLHTTP_SOURCE_DIR)

if(Llhttp_FOUND AND NOT TARGET llhttp::llhttp)
  if(LLHTTP_LIBRARY)
    add_library(llhttp::llhttp UNKNOWN IMPORTED)
    set_target_properties(llhttp::llhttp PROPERTIES
      IMPORTED_LOCATION ${LLHTTP_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${LLHTTP_INCLUDE_DIR})
  else()
    enable_language(C)
    add_library(llhttp STATIC ${LLHTTP_SOURCE_DIR}/llhttp.c ${LLHTTP_SOURCE_DIR}/api.c ${LLHTTP_SOURCE_DIR}/http.c)
    set_target_properties(llhttp PROPERTIES UNITY_BUILD OFF)  # its files were not written to be joined
    add_library(llhttp::llhttp ALIAS llhttp)
    target_include_directories(llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE_DIR})
    # The stricter of the two parsers that the sources contain: one reading of every request.
    target_compile_definitions(llhttp PRIVATE LLHTTP_STRICT_MODE=1)
    # Others' code: it is not held to our warnings.
    target_compile_options(llhttp PRIVATE -w)
  endif()
endif()

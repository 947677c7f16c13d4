# SPDX-License-Identifier: MIT
"""nginx as a server under test, in a directory of its own."""
import contextlib
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

# What docker/install unpacks, or the system's, which not everybody has on the path.
_PLACES = (pathlib.Path(__file__).resolve().parents[2] / 'build/tools/nginx/usr/sbin/nginx', 'nginx', '/usr/sbin/nginx')

# As bench/files/run configures it, with what file_server does without being asked; the second server may be written to.
_CONFIGURATION = '''
worker_processes 1; daemon off; pid {directory}/pid; error_log {directory}/log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; default_type application/octet-stream; autoindex on; gzip_static on; gzip_vary on;
  absolute_redirect off;
  client_body_temp_path {directory}/temporary; proxy_temp_path {directory}/temporary;
  fastcgi_temp_path {directory}/temporary; uwsgi_temp_path {directory}/temporary; scgi_temp_path {directory}/temporary;
  server {{ listen 127.0.0.1:{reading}; root {directory}/reading; }}
  server {{ listen 127.0.0.1:{writing}; root {directory}/writing; dav_methods PUT DELETE; }}
}}
'''


def program():
    """Its path, or None where it is not there."""
    return next(filter(None, map(shutil.which, _PLACES)), None)


def version():
    """Of the program: '1.22.1'."""
    told = subprocess.run([program(), '-v'], check=True, capture_output=True, text=True).stderr
    return re.search(r'nginx/([\d.]+)', told).group(1)


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(('127.0.0.1', 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class Nginx(contextlib.AbstractContextManager):
    """Serves the directories `reading` and `writing` of `directory` at the ports of these names."""

    def __init__(self):
        self._temporary = tempfile.TemporaryDirectory()
        self.directory = pathlib.Path(self._temporary.name)
        self.directory.chmod(0o755)  # started as root, its worker is somebody else
        for name in ('reading', 'writing', 'temporary'):
            (self.directory / name).mkdir()
            (self.directory / name).chmod(0o777)

    def __enter__(self):
        # It cannot choose a port itself: these were free a moment ago, and whoever takes one meanwhile makes it end.
        for _ in range(10):
            self.reading, self.writing = _free_ports(2)
            configuration = self.directory / 'nginx.conf'
            configuration.write_text(_CONFIGURATION.format(
                directory=self.directory, reading=self.reading, writing=self.writing))
            self._process = subprocess.Popen(
                [program(), '-e', self.directory / 'log', '-p', self.directory, '-c', configuration],
                stderr=subprocess.DEVNULL)
            if self._listens():
                return self
        self._temporary.cleanup()
        raise RuntimeError(f'nginx did not start: {(self.directory / "log").read_text()}')

    def _listens(self):
        while self._process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(('127.0.0.1', self.writing)).close()
                return True
        return False

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._temporary.cleanup()

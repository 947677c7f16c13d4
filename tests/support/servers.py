# SPDX-License-Identifier: MIT
"""Servers under test: each on ports the system chooses, ended by SIGTERM, which must be an orderly end."""
import contextlib
import re
import signal
import subprocess


class Server(contextlib.AbstractContextManager):
    """A program that prints `listening NAME ADDRESS:PORT` for each listener; `addresses` has them by name."""

    def __init__(self, program, *options, listeners):
        self._process = subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True)
        self.addresses = {}
        while len(self.addresses) < listeners:
            line = self._process.stdout.readline()
            found = re.fullmatch(r'listening (\w+) (\S+)\n', line)
            if not found:
                self._process.kill()
                raise RuntimeError(f'{program} did not start: {line!r}')
            self.addresses[found.group(1)] = found.group(2)

    def url(self, name='http', scheme='http'):
        return f'{scheme}://{self.addresses[name]}/'

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()
        if status != 0:
            raise RuntimeError(f'the server ended with {status}')

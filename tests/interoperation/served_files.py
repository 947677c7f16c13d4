# SPDX-License-Identifier: MIT
"""What the clients' tests have in common: file_server over HTTP and HTTPS, and files that it serves."""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

from servers import Server

# Generous: whatever does not come is a failure, not a test that hangs.
LIMIT_S = 60

# Nothing, less than a block, around the size from which the system sends, and more than the sockets take at once.
SIZES = (0, 1, 4096, 131071, 131072, 5_000_001)


def digest(content):
    """What to compare in place of much: a difference is told in one line."""
    return f'{len(content)} bytes, sha-256 {hashlib.sha256(content).hexdigest()}'


class ServedFiles(unittest.TestCase):
    """`content` is of the files in `root`, by name; `http` and `https` are where they are. `temporary` is
    a test's own."""

    @classmethod
    def setUpClass(cls):
        # Started as root, the server gives that up: everybody may write.
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.root.chmod(0o777)
        own = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.certificate, key = own / 'certificate.pem', own / 'key.pem'
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1',
             '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key,
             '-out', cls.certificate], check=True, capture_output=True)
        cls.content = {}
        for size in SIZES:
            cls.content[str(size)] = os.urandom(size)
            (cls.root / str(size)).write_bytes(cls.content[str(size)])
        server = cls.enterClassContext(Server(
            f'{sys.argv[1]}/file_server', '--root', str(cls.root), '--http', '127.0.0.1:0', '--https', '127.0.0.1:0',
            '--cert', str(cls.certificate), '--key', str(key), '--writable', '--upload-bytes-max', '20MB',
            '--requests-max', '1000000000', listeners=2))
        cls.http, cls.https = server.addresses['http'], server.addresses['https']
        cls.both = (f'http://{cls.http}', f'https://{cls.https}')

    def setUp(self):
        self.temporary = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

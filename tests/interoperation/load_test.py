# SPDX-License-Identifier: MIT
"""file_server and load_generator: many connections, every byte as in the first answer; and what it says of servers that
do not answer alike.

load_test.py DIRECTORY_OF_PROGRAMS"""
import contextlib
import http.server
import re
import subprocess
import sys
import threading

from served_files import LIMIT_S, ServedFiles
from program_tests import main


def load(url, *options):
    return subprocess.run([f'{sys.argv[1]}/load_generator', 'http', url, *options], capture_output=True, text=True,
                          timeout=2 * LIMIT_S)


class Changing(http.server.BaseHTTPRequestHandler):
    """Answers the first request with one thing, later ones with others of the same length."""
    protocol_version = 'HTTP/1.1'
    answers = 0

    def do_GET(self):
        Changing.answers += 1
        body = b'first' if Changing.answers == 1 else b'other'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Load(ServedFiles):
    def test_verifies_every_byte(self):
        for base in self.both:
            for size, requests in (0, 2000), (4096, 2000), (131072, 500), (5_000_001, 20):
                with self.subTest(base=base, size=size):
                    done = load(f'{base}/{size}', '--connections', '20', '--requests', str(requests), '--insecure')
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertRegex(done.stdout, rf'^verified {requests} answers of {size} bytes .* over 20 connect')
                    self.assertRegex(done.stdout, r'(?m)^latency_us p50 [\d.]+, p99 [\d.]+, p99.9 [\d.]+, max [\d.]+$')

    def test_fewer_requests_than_connections(self):
        done = load(f'http://{self.http}/1', '--connections', '20', '--requests', '3')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('verified 3 answers', done.stdout)

    def test_says_what_went_wrong(self):
        for url, options, why in (
                (f'http://{self.http}/none', (), 'the server answers 404'),
                (f'https://{self.https}/1', (), 'is not trusted'),
                (f'https://{self.https}/1', ('--ca', '/nonexistent'), '/nonexistent'),
                ('http://127.0.0.1:1/', (), 'cannot connect')):
            with self.subTest(url=url, options=options):
                done = load(url, *options)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(why, done.stderr)
        self.assertEqual(load('ftp://localhost/').returncode, 2)

    def test_finds_other_bytes(self):
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Changing)
        with contextlib.closing(server.socket):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                done = load(f'http://127.0.0.1:{server.server_address[1]}/', '--connections', '2')
            finally:
                server.shutdown()
                thread.join()
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertTrue(re.search('is not what the first one was', done.stderr), done.stderr)


if __name__ == '__main__':
    main('openssl')

# SPDX-License-Identifier: MIT
"""file_server and curl: every byte arrives, both ways, by whatever option people use.

curl_test.py DIRECTORY_OF_PROGRAMS"""
import gzip
import json
import os
import socket
import subprocess
import unittest

from served_files import LIMIT_S, SIZES, ServedFiles, digest
from program_tests import main

LARGE = str(SIZES[-1])


class Curl(ServedFiles):
    def curl(self, *arguments, status=0, **options):
        """Runs it with these arguments; returns what it writes to its output, and what it tells of each transfer."""
        done = subprocess.run(
            ['curl', '-q', '--silent', '--no-progress-meter', '--noproxy', '*', '--max-time', str(LIMIT_S),
             '--cacert', self.certificate, '--write-out', '%{stderr}%{json}\n', *arguments],
            capture_output=True, timeout=2 * LIMIT_S, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout, [json.loads(line) for line in done.stderr.splitlines()]

    def get(self, *arguments):
        """Of one transfer: its body's digest, its status, and how many bytes came."""
        body, (told,) = self.curl(*arguments)
        return digest(body), told['http_code'], told['size_download']

    def test_gets_files_of_every_size_over_one_connection(self):
        for base in self.both:
            for name, content in self.content.items():
                with self.subTest(base=base, name=name):
                    self.assertEqual(self.get(f'{base}/{name}'), (digest(content), 200, len(content)))
            all_of_them = b''.join(self.content.values())
            body, told = self.curl(f'{base}/{{{",".join(self.content)}}}')
            self.assertEqual(digest(body), digest(all_of_them))
            self.assertEqual([each['num_connects'] for each in told], [1] + [0] * (len(self.content) - 1))

    def test_gets_many_files_at_once(self):
        for base in self.both:
            arguments = []
            for index in range(40):
                arguments += ['--output', self.temporary / str(index), f'{base}/{SIZES[index % len(SIZES)]}']
            _, told = self.curl('--parallel', '--parallel-immediate', '--parallel-max', '20', *arguments)
            self.assertEqual([each['http_code'] for each in told], [200] * 40)
            for index in range(40):
                came = (self.temporary / str(index)).read_bytes()
                self.assertEqual(digest(came), digest(self.content[str(SIZES[index % len(SIZES)])]))

    def test_goes_on_where_a_download_was_broken_off(self):
        for base in self.both:
            part = self.temporary / 'part'
            part.write_bytes(self.content[LARGE][:1_234_567])
            _, status, came = self.get('--continue-at', '-', '--output', part, f'{base}/{LARGE}')
            self.assertEqual((status, came), (206, len(self.content[LARGE]) - 1_234_567))
            self.assertEqual(digest(part.read_bytes()), digest(self.content[LARGE]))
            # Nothing is left to get; curl knows that by the Content-Range of the answer.
            self.assertEqual(self.get('--continue-at', '-', '--output', part, f'{base}/{LARGE}')[1], 416)
            self.assertEqual(digest(part.read_bytes()), digest(self.content[LARGE]))

    def test_gets_ranges(self):
        whole = self.content[LARGE]
        for base in self.both:
            for option, part in (('0-0', whole[:1]), ('1000000-1999999', whole[1_000_000:2_000_000]),
                                 ('4000000-', whole[4_000_000:]), ('-7', whole[-7:])):
                with self.subTest(base=base, range=option):
                    self.assertEqual(self.get('--range', option, f'{base}/{LARGE}'), (digest(part), 206, len(part)))
            several, (told,) = self.curl('--range', '0-9,2000000-2999999', f'{base}/{LARGE}')
            self.assertEqual(told['http_code'], 206)
            self.assertTrue(b'\r\n\r\n' + whole[:10] + b'\r\n--' in several)
            self.assertTrue(b'\r\n\r\n' + whole[2_000_000:3_000_000] + b'\r\n--' in several)

    def test_decompresses_what_is_compressed(self):
        text = b'<p>the same, again and again' * 10_000
        (self.root / 'page.html').write_bytes(text)
        zipped = gzip.compress(text)
        (self.root / 'page.html.gz').write_bytes(zipped)
        for base in self.both:
            self.assertEqual(self.get('--compressed', f'{base}/page.html'), (digest(text), 200, len(zipped)))
            self.assertEqual(self.get(f'{base}/page.html'), (digest(text), 200, len(text)))

    def test_uploads_after_a_100(self):
        for base in self.both:
            for name, content in self.content.items():
                with self.subTest(base=base, name=name):
                    url, heads = f'{base}/new{name}', self.temporary / 'heads'
                    _, (told,) = self.curl('--upload-file', self.root / name, '--header', 'Expect: 100-continue',
                                           '--expect100-timeout', str(LIMIT_S), '--dump-header', heads, url)
                    self.assertEqual((told['http_code'], told['size_upload']), (201, len(content)))
                    self.assertEqual(heads.read_bytes().startswith(b'HTTP/1.1 100 Continue\r\n\r\n'), bool(content))
                    self.assertEqual(digest((self.root / f'new{name}').read_bytes()), digest(content))
                    self.assertEqual(self.get('--request', 'DELETE', url)[1], 204)
                    self.assertFalse((self.root / f'new{name}').exists())

    def test_uploads_what_has_no_length_yet(self):
        for base in self.both:
            _, (told,) = self.curl('--upload-file', '-', f'{base}/piped', input=self.content[LARGE])
            self.assertEqual(told['http_code'], 201)
            self.assertEqual(digest((self.root / 'piped').read_bytes()), digest(self.content[LARGE]))
            self.get('--request', 'DELETE', f'{base}/piped')

    def test_sends_nothing_of_what_is_refused(self):
        too_large = self.temporary / 'large'
        too_large.touch()
        os.truncate(too_large, 30_000_000)
        for base in self.both:
            _, (told,) = self.curl('--upload-file', too_large, '--expect100-timeout', str(LIMIT_S), f'{base}/refused')
            self.assertEqual((told['http_code'], told['size_upload']), (413, 0))
        self.assertFalse((self.root / 'refused').exists())

    def test_goes_on_where_an_upload_was_broken_off(self):
        content = self.content[LARGE]
        host, port = self.http.rsplit(':', 1)
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
            connection.sendall(b'PUT /resumed HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n'
                               b'Content-Range: bytes 0-%d/%d\r\n\r\n' % (len(content), len(content) - 1, len(content)))
            connection.sendall(content[:3_000_000])
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(connection.recv(1), b'')  # it has what there was
        _, (told,) = self.curl('--upload-file', self.root / LARGE, '--continue-at', '3000000',
                               f'http://{self.http}/resumed')
        self.assertEqual((told['http_code'], told['size_upload']), (201, len(content) - 3_000_000))
        self.assertEqual(digest((self.root / 'resumed').read_bytes()), digest(content))

    def test_gets_only_what_has_changed(self):
        for base in self.both:
            copy, tag = self.temporary / 'copy', self.temporary / 'tag'
            self.assertEqual(self.get('--output', copy, '--remote-time', '--etag-save', tag, f'{base}/{LARGE}')[1], 200)
            self.assertEqual(digest(copy.read_bytes()), digest(self.content[LARGE]))
            self.assertEqual(int(copy.stat().st_mtime), int((self.root / LARGE).stat().st_mtime))
            self.assertEqual(self.get('--etag-compare', tag, f'{base}/{LARGE}'), (digest(b''), 304, 0))
            self.assertEqual(self.get('--time-cond', copy, f'{base}/{LARGE}'), (digest(b''), 304, 0))
            self.assertEqual(self.get('--time-cond', '1994-11-06', f'{base}/4096')[0], digest(self.content['4096']))
            self.assertEqual(self.get('--etag-compare', tag, f'{base}/4096')[0], digest(self.content['4096']))

    def test_speaks_the_version_there_is(self):
        for base, made in zip(self.both, (201, 204)):
            body, (told,) = self.curl('--head', f'{base}/{LARGE}')
            self.assertIn(b'\r\nContent-Length: %d\r\n' % len(self.content[LARGE]), body)
            self.assertEqual(told['size_download'], 0)
            # HTTP/2 is offered, by a field or within TLS, and declined.
            for option in ('--http1.0', '--http2'):
                body, (told,) = self.curl(option, f'{base}/{LARGE}')
                self.assertEqual((digest(body), told['http_version']), (digest(self.content[LARGE]), '1.1'))
            _, (told,) = self.curl('--http2', '--upload-file', self.root / LARGE, f'{base}/offered')
            self.assertEqual(told['http_code'], made)
            self.assertEqual(digest((self.root / 'offered').read_bytes()), digest(self.content[LARGE]))

    def test_trusts_nobody_by_itself(self):
        https = self.both[1]
        for version in ('1.2', '1.3'):
            body, _ = self.curl('--tls-max', version, f'--tlsv{version}', f'{https}/{LARGE}')
            self.assertEqual(digest(body), digest(self.content[LARGE]))
        self.curl('--cacert', '/dev/null', f'{https}/1', status=77)  # nothing to verify by
        self.curl('--tlsv1.0', '--tls-max', '1.1', f'{https}/1', status=35)  # no version in common


if __name__ == '__main__':
    main('curl', 'openssl')

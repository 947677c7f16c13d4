# SPDX-License-Identifier: MIT
"""file_server and Python's http.client: every byte arrives, both ways, and connections stay.

python_test.py DIRECTORY_OF_PROGRAMS"""
import contextlib
import http.client
import ssl
import threading

from served_files import LIMIT_S, SIZES, ServedFiles, digest
from program_tests import main

LARGE = str(SIZES[-1])


class HttpClient(ServedFiles):
    def connect(self, address):
        """To `http` or `https`."""
        host, port = address.rsplit(':', 1)
        if address == self.http:
            connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT_S)
        else:
            context = ssl.create_default_context(cafile=self.certificate)
            connection = http.client.HTTPSConnection(host, int(port), timeout=LIMIT_S, context=context)
        return contextlib.closing(connection)

    def each(self):
        """A connection of each kind; it must be the same one to the end."""
        for address in (self.http, self.https):
            with self.connect(address) as connection:
                connection.connect()
                first = connection.sock
                yield connection
                self.assertIs(connection.sock, first)

    @staticmethod
    def ask(connection, method, path, body=None, headers=None, **options):
        connection.request(method, path, body, headers or {}, **options)
        answer = connection.getresponse()
        return answer, answer.read()

    def test_keeps_a_connection_for_all_that_it_asks(self):
        for connection in self.each():
            for _ in range(20):
                for name, content in self.content.items():
                    answer, body = self.ask(connection, 'GET', f'/{name}')
                    self.assertEqual((answer.status, answer.version), (200, 11))
                    self.assertEqual(digest(body), digest(content))
                    tag = answer.headers['ETag']
                    answer, body = self.ask(connection, 'HEAD', f'/{name}')
                    self.assertEqual((answer.status, answer.length, body), (200, 0, b''))
                    self.assertEqual(answer.headers['Content-Length'], str(len(content)))
                    answer, body = self.ask(connection, 'GET', f'/{name}', headers={'If-None-Match': tag})
                    self.assertEqual((answer.status, body), (304, b''))
                self.assertEqual(self.ask(connection, 'GET', '/none')[0].status, 404)
                answer, body = self.ask(connection, 'GET', f'/{LARGE}', headers={'Range': 'bytes=1000-200999'})
                self.assertEqual((answer.status, digest(body)), (206, digest(self.content[LARGE][1000:201000])))

    def test_reads_in_pieces_of_its_own(self):
        for connection in self.each():
            connection.request('GET', f'/{LARGE}')
            answer = connection.getresponse()
            pieces = []
            while piece := answer.read(77_777):
                pieces.append(piece)
            self.assertEqual(digest(b''.join(pieces)), digest(self.content[LARGE]))

    def test_uploads_what_it_has_whole_or_as_a_file(self):
        for connection in self.each():
            for name, content in self.content.items():
                answer, _ = self.ask(connection, 'PUT', '/uploaded', content)
                self.assertEqual(digest((self.root / 'uploaded').read_bytes()), digest(content))
                tag = answer.headers['ETag']
                with open(self.root / name, 'rb') as file:
                    answer, _ = self.ask(connection, 'PUT', '/uploaded', file, {'If-Match': tag})
                self.assertEqual(answer.status, 204)
                # On another connection: it ends with what has been sent of a body that is not wanted.
                with self.connect(f'{connection.host}:{connection.port}') as other:
                    answer, _ = self.ask(other, 'PUT', '/uploaded', b'lost', {'If-Match': tag})
                    self.assertEqual((answer.status, answer.headers['Connection']), (412, 'close'))
                self.assertEqual(digest(self.ask(connection, 'GET', '/uploaded')[1]), digest(content))
            self.assertEqual(self.ask(connection, 'DELETE', '/uploaded')[0].status, 204)
            self.assertEqual(self.ask(connection, 'DELETE', '/uploaded')[0].status, 404)

    def test_uploads_what_it_makes_in_chunks(self):
        content = self.content[LARGE]
        sizes = (1, 15, 16, 4096, 65537, 1_000_000)

        def pieces():
            at = 0
            while at < len(content):
                size = sizes[at % len(sizes)]
                yield content[at:at + size]
                at += size

        for connection in self.each():
            answer, _ = self.ask(connection, 'PUT', '/chunks', pieces(), encode_chunked=True,
                                 headers={'Transfer-Encoding': 'chunked'})
            self.assertEqual(answer.status, 201)
            self.assertEqual(digest(self.ask(connection, 'GET', '/chunks')[1]), digest(content))
            self.assertEqual(self.ask(connection, 'DELETE', '/chunks')[0].status, 204)

    def test_ends_when_it_is_told_to(self):
        for address in (self.http, self.https):
            with self.connect(address) as connection:
                answer, body = self.ask(connection, 'GET', f'/{LARGE}', headers={'Connection': 'close'})
                self.assertEqual((answer.headers['Connection'], digest(body)), ('close', digest(self.content[LARGE])))
                self.assertIsNone(connection.sock)

    def test_many_connections_at_once(self):
        wrong = []

        def client(address, name):
            try:
                with self.connect(address) as connection:
                    for _ in range(5):
                        if self.ask(connection, 'GET', f'/{name}')[1] != self.content[name]:
                            wrong.append(f'{name} from {address}')
            except (OSError, http.client.HTTPException) as fault:
                wrong.append(f'{name} from {address}: {fault}')

        threads = [threading.Thread(target=client, args=(address, str(size)))
                   for address in (self.http, self.https) for size in SIZES for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(wrong, [])

    def test_speaks_tls_1_3_and_trusts_the_certificate_alone(self):
        with self.connect(self.https) as connection:
            connection.connect()
            self.assertEqual(connection.sock.version(), 'TLSv1.3')
        host, port = self.https.rsplit(':', 1)
        stranger = http.client.HTTPSConnection(host, int(port), timeout=LIMIT_S, context=ssl.create_default_context())
        with contextlib.closing(stranger), self.assertRaises(ssl.SSLCertVerificationError):
            stranger.connect()


if __name__ == '__main__':
    main('openssl')

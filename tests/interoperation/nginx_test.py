# SPDX-License-Identifier: MIT
"""nginx and the requests of requests.json: where it answers otherwise than file_server must, the table says why.

nginx_test.py"""
import pathlib
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

import nginx
import request_table
from program_tests import main, skip


class NginxAnswers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = nginx.Nginx()
        for part in ('reading', 'writing'):
            request_table.write_files(cls.server.directory / part)
        cls.enterClassContext(cls.server)

    def compare(self, part):
        for row in request_table.requests(part):
            with self.subTest(what=row['what'], rfc=row['rfc']):
                expected = request_table.expected(row, 'nginx')
                answer = request_table.answer_to(row, getattr(self.server, part), expected)
                self.assertEqual(answer, expected, row.get('nginx', {}).get('because', 'a difference without a reason'))

    def test_reading(self):
        self.compare('reading')

    def test_writing(self):
        self.compare('writing')

    def test_differences_are_some_and_have_reasons(self):
        for part in ('reading', 'writing'):
            for row in request_table.requests(part):
                if 'nginx' in row:
                    with self.subTest(what=row['what']):
                        other = dict(row['nginx'])
                        self.assertTrue(other.pop('because'))
                        for name, value in other.items():
                            self.assertNotEqual(row[name] | value if name == 'fields' else value, row[name])


if __name__ == '__main__':
    if nginx.program() is None:
        skip('nginx is not there (docker/install unpack)')
    if not nginx.version().startswith(request_table.nginx_version()):
        skip(f'this is nginx {nginx.version()}; the table is about {request_table.nginx_version()}')
    main()

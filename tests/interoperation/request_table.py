# SPDX-License-Identifier: MIT
"""requests.json, which says what it has: its files, its requests as bytes, and what a server makes of them."""
import email.utils
import http.client
import io
import json
import os
import pathlib
import socket

_TABLE = json.loads((pathlib.Path(__file__).parent / 'requests.json').read_text())
# Generous: whatever does not come is a failure, not a test that hangs.
LIMIT_S = 30


def requests(part):
    """The rows of `reading` or `writing`."""
    return _TABLE[part]


def nginx_version():
    """The version of nginx that the table is about."""
    return _TABLE['nginx version']


def write_files(directory):
    """What is to be served, where everybody may read and write."""
    modified = email.utils.parsedate_to_datetime(_TABLE['modified']).timestamp()
    for name, content in _TABLE['files'].items():
        path = pathlib.Path(directory) / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o777)
        path.write_text(content)
        path.chmod(0o666)
        os.utime(path, (modified, modified))


class _Reader(io.BufferedReader):
    """Of all answers: http.client closes what it has read one from, and would lose what comes behind it."""

    def close(self):
        pass


class _Connection:
    def __init__(self, port):
        self._socket = socket.create_connection(('127.0.0.1', port), timeout=LIMIT_S)
        self._reader = _Reader(socket.SocketIO(self._socket, 'r'))

    def makefile(self, *_):
        return self._reader

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def ask(self, request):
        """The final answer, or None where no status line comes."""
        try:
            self._socket.sendall(request)
            answer = http.client.HTTPResponse(self, method=request.split()[0].decode(errors='replace'))
            answer.begin()
            answer.content = answer.read()
        except (http.client.BadStatusLine, ConnectionError):
            return None
        return answer

    def ends(self):
        try:
            return self._reader.read(1) == b''
        except ConnectionResetError:
            return True


def _bytes_of(request, port):
    def bytes_of(piece):
        if isinstance(piece, str):
            return piece.encode()
        if 'repeat' in piece:
            text, times = piece['repeat']
            return text.encode() * times
        with _Connection(port) as connection:
            head = connection.ask(f'HEAD {piece["tag of"]} HTTP/1.1\r\nHost: test\r\n\r\n'.encode())
            return head.headers['ETag'].encode()
    return b''.join(map(bytes_of, [request] if isinstance(request, str) else request))


def answer_to(row, port, names):
    """Of what the server at this port answers to the row's request, that which has these names in rows."""
    with _Connection(port) as connection:
        answer = connection.ask(_bytes_of(row['request'], port))
        said = {'status': answer.status if answer else 0}
        if 'fields' in names:
            said['fields'] = {name: answer.headers.get(name, '') if answer else '' for name in row['fields']}
        if 'body' in names:
            said['body'] = answer.content.decode() if answer else ''
        if 'then' in names:
            if answer is None or answer.headers.get('Connection') == 'close':
                said['then'] = 'closes' if connection.ends() else 'hangs'
            else:
                again = connection.ask(b'GET /file HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')
                said['then'] = 'stays' if again and again.status == 200 and connection.ends() else 'breaks'
        return said


def expected(row, of=None):
    """What the row says is answered; `of` a server of which it may say otherwise."""
    said = {name: row[name] for name in ('status', 'fields', 'body', 'then') if name in row}
    other = {name: value for name, value in row.get(of, {}).items() if name != 'because'}
    if 'status' in other:  # then the rest of the answer is another, too
        said.pop('fields', None)
        said.pop('body', None)
    if 'fields' in other:
        other['fields'] = said['fields'] | other['fields']
    return said | other

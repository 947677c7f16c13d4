# SPDX-License-Identifier: MIT
"""The pages of file_server and of --admin as people meet them: in a browser.

pages_test.py DIRECTORY_OF_PROGRAMS [DIRECTORY_FOR_PICTURES]"""
import os
import pathlib
import sys
import tempfile
import unittest
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / 'support'))

from program_tests import main
from servers import Server
from webdriver import Browser

PROGRAMS = ''
PICTURES = None

# A name that is markup, a scheme and a quotation at once.
NASTY = 'a:b <img src=x onerror=document.title=1>&"\'.txt'


def text_of(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        os.chmod(cls.root, 0o777)  # the server gives up being root
        (cls.root / 'below').mkdir()
        (cls.root / 'below' / 'deep file').write_bytes(b'deep')
        for name, size in (('file10', 10), ('file2', 2_000_000), (NASTY, 5)):
            (cls.root / name).write_bytes(os.urandom(size))
        cls.server = cls.enterClassContext(Server(
            f'{PROGRAMS}/file_server', '--root', str(cls.root), '--http', '127.0.0.1:0', '--admin', '127.0.0.1:0',
            '--writable', listeners=2))

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])

    def picture(self, name):
        if PICTURES:
            self.browser.picture(f'{PICTURES}/{name}.png')

    def names(self):
        return self.browser.run('return [...document.querySelectorAll("tr[data-name]")].filter((row) => !row.hidden)'
                                '.map((row) => row.querySelector("a").textContent)')

    def wait_for_row(self, name, there=True):
        self.browser.wait_for(f'{name} in the listing: {there}',
                              'return [...document.querySelectorAll("tr[data-name]")].some('
                              '(row) => row.dataset.name === arguments[0]) === arguments[1]', name, there)

    def test_listing_shows_names_as_they_are_and_leads_to_files(self):
        self.browser.open(self.server.url())
        self.assertEqual(self.names(), ['below/', NASTY, 'file2', 'file10'])
        self.assertEqual(self.browser.run('return document.title'), '/')
        self.assertEqual(self.browser.run('return document.querySelectorAll("td img").length'), 0)
        for name in (NASTY, 'file2'):
            bytes_there = self.browser.run(
                'const row = [...document.querySelectorAll("tr[data-name]")].find((each) => each.dataset.name === arguments[0]);'
                'return fetch(row.querySelector("a").href).then((answer) => answer.blob()).then((blob) => blob.size)', name)
            self.assertEqual(bytes_there, (self.root / name).stat().st_size)
        self.browser.click('tr.directory a')
        self.assertEqual(self.names(), ['deep file'])
        self.assertEqual(self.browser.run('return document.querySelector("h1").textContent'), '/below/')
        self.browser.click('tbody tr:first-child a')
        self.assertIn('below/', self.names())

    def test_listing_is_sorted_by_size_and_filtered_by_name(self):
        self.browser.open(self.server.url())
        self.browser.click('th[data-key=bytes] button')
        self.assertEqual(self.names(), ['below/', 'file2', 'file10', NASTY])
        self.assertEqual(self.browser.run('return document.querySelector("th[data-key=bytes]").ariaSort'), 'descending')
        self.browser.click('th[data-key=bytes] button')
        self.assertEqual(self.names(), ['below/', NASTY, 'file10', 'file2'])
        self.browser.type_into('#filter', 'FILE')
        self.assertEqual(self.names(), ['file10', 'file2'])

    def test_file_that_is_chosen_is_uploaded_and_listed_and_deleted(self):
        self.browser.open(self.server.url())
        content = os.urandom(3_000_000)
        with tempfile.TemporaryDirectory() as directory:
            source = pathlib.Path(directory) / 'new one #1 100%.bin'
            source.write_bytes(content)
            self.browser.type_into('#chosen', str(source))
            self.browser.wait_for('the end of the upload', 'return document.querySelector(".transfer.done .state")')
        self.wait_for_row(source.name)
        self.assertEqual((self.root / source.name).read_bytes(), content)
        self.assertIn('2.9 MiB', self.browser.run('return document.querySelector("#entries").innerText'))
        self.picture('directory')
        self.browser.run('document.querySelectorAll("tr[data-name]").forEach((row) => { if (row.dataset.name === arguments[0])'
                         ' setTimeout(() => row.querySelector(".delete").click()) })', source.name)
        self.accept_when_asked()
        self.wait_for_row(source.name, there=False)
        self.assertFalse((self.root / source.name).exists())

    def accept_when_asked(self):
        for _ in range(200):
            try:
                return self.browser.accept_alert()
            except RuntimeError as fault:
                if 'no such alert' not in str(fault):
                    raise
        self.fail('nothing was asked')

    def test_files_that_are_dropped_are_uploaded(self):
        self.browser.open(self.server.url())
        self.browser.run('''
            const dropped = new DataTransfer();
            dropped.items.add(new File(['one'], 'dropped 1.txt'));
            dropped.items.add(new File(['two'.repeat(1000)], 'dropped 2.txt'));
            for (const type of ['dragenter', 'dragover', 'drop']) {
              document.body.dispatchEvent(new DragEvent(type, { dataTransfer: dropped, bubbles: true, cancelable: true }));
            }''')
        self.browser.wait_for('two uploads', 'return document.querySelectorAll(".transfer.done").length === 2')
        self.wait_for_row('dropped 2.txt')
        self.assertEqual((self.root / 'dropped 1.txt').read_bytes(), b'one')
        self.assertEqual((self.root / 'dropped 2.txt').read_bytes(), b'two' * 1000)
        self.assertTrue(self.browser.run('return document.getElementById("drop").hidden'))
        for number in (1, 2):
            (self.root / f'dropped {number}.txt').unlink()

    def test_upload_that_is_refused_says_why(self):
        with Server(f'{PROGRAMS}/file_server', '--root', str(self.root), '--http', '127.0.0.1:0', '--writable',
                    '--upload-bytes-max', '1000', listeners=1) as small:
            self.browser.open(small.url())
            self.browser.run('''
                const dropped = new DataTransfer();
                dropped.items.add(new File(['x'.repeat(2000)], 'too large'));
                document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }));''')
            said = self.browser.wait_for('a refusal', 'return document.querySelector(".transfer.failed .state")?.textContent')
            self.assertEqual(said, 'failed: it is too large for the server')
            self.assertFalse((self.root / 'too large').exists())
        self.assertEqual(['413' in each for each in self.browser.complaints()], [True])  # the browser's own line about it

    def test_directory_that_is_not_writable_offers_no_uploads_and_needs_no_script(self):
        with Server(f'{PROGRAMS}/file_server', '--root', str(self.root), '--http', '127.0.0.1:0', listeners=1) as readable:
            self.browser.open(readable.url())
            self.assertTrue(self.browser.run('return document.getElementById("upload").hidden'))
            self.assertEqual(self.browser.run('return document.querySelectorAll(".delete").length'), 0)
            page = text_of(readable.url())
            self.assertIn('<a href="./file2">file2</a>', page)
            self.assertIn('<a href="./below/">below/</a>', page)
            self.assertIn('1.9 MiB', page)

    def test_admin_page_of_the_file_server_follows_it(self):
        self.follow(self.server, 'file_server', 'Requests', lambda: text_of(self.server.url()))
        self.picture('admin')

    def test_admin_page_of_the_echo_server_follows_it(self):
        with Server(f'{PROGRAMS}/echo_server', '--tcp', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--budget', '16MiB',
                    listeners=2) as echo:
            self.follow(echo, 'echo_server', 'Connections', lambda: self.echo_once(echo.addresses['tcp']))
            self.assertIn('16.0\u00a0MiB', self.browser.run('return document.getElementById("tiles").textContent'))

    @staticmethod
    def echo_once(address):
        import socket
        host, port = address.rsplit(':', 1)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b'x' * 1000)
            left = 1000
            while left:
                left -= len(connection.recv(left))

    # What the tile called `label` has counted so far: "3 ever".
    def counted(self, label):
        return self.browser.run(
            'const tile = [...document.querySelectorAll(".tile")].find((each) => each.firstChild.textContent === arguments[0]);'
            'return Number(tile.querySelector(".detail").textContent.match(/(\\d+) ever/)[1])', label)

    def samples(self):
        return int(self.browser.run('return document.documentElement.dataset.samples ?? "0"'))

    def follow(self, server, program, label, act):
        self.browser.open(server.url('admin'))
        self.browser.wait_for('two samples', 'return Number(document.documentElement.dataset.samples) >= 2')
        self.assertEqual(self.browser.run('return document.getElementById("program").textContent'), program)
        self.assertEqual(self.browser.run('return document.getElementById("state").className'), 'live')
        before = self.counted(label)
        act()
        act()
        self.browser.wait_for('two more', 'return [...document.querySelectorAll(".tile")].find((each) => '
                              'each.firstChild.textContent === arguments[0]).innerText.includes(arguments[1])',
                              label, f'{before + 2} ever')
        now = self.samples()
        self.browser.wait_for('another sample', 'return Number(document.documentElement.dataset.samples) > arguments[0]', now)
        lines = self.browser.run('return [...document.querySelectorAll("polyline")].map((line) => line.points.length)')
        self.assertGreaterEqual(len(lines), 5)
        self.assertGreaterEqual(max(lines), 3)
        self.assertGreater(self.browser.run('return document.querySelectorAll("#classes tr").length'), 0)

    def test_admin_page_says_when_its_server_is_gone(self):
        with Server(f'{PROGRAMS}/echo_server', '--tcp', '127.0.0.1:0', '--admin', '127.0.0.1:0', listeners=2) as echo:
            self.browser.open(echo.url('admin'))
            self.browser.wait_for('life', 'return document.getElementById("state").className === "live"')
        self.browser.wait_for('loss', 'return document.getElementById("state-text").textContent === "no answer"')
        self.browser.open('about:blank')
        self.browser.complaints()  # that there was no answer


if __name__ == '__main__':
    PROGRAMS = sys.argv[1]
    PICTURES = sys.argv[2] if len(sys.argv) > 2 else None
    main('chromium', 'chromedriver')

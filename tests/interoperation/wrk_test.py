# SPDX-License-Identifier: MIT
"""file_server and wrk: many connections at once, no error, and every body is the file.

wrk_test.py DIRECTORY_OF_PROGRAMS"""
import re
import subprocess

from served_files import LIMIT_S, ServedFiles
from program_tests import main

# Compares each body with the file; thread:get() is how wrk's threads tell one another something.
_SCRIPT = '''
local threads = {{}}
function setup(thread) threads[#threads + 1] = thread end
function init()
  local file = io.open("{path}", "rb")
  content = file:read("*a")
  file:close()
  right, wrong = 0, 0
end
function response(status, headers, body)
  if status == {status} and body == content then right = right + 1 else wrong = wrong + 1 end
end
function done()
  local right, wrong = 0, 0
  for _, thread in ipairs(threads) do right, wrong = right + thread:get("right"), wrong + thread:get("wrong") end
  io.write(string.format("bodies: %d right, %d wrong\\n", right, wrong))
end
'''


class Wrk(ServedFiles):
    def load(self, url, path, *options, status=200):
        script = self.temporary / 'script.lua'
        script.write_text(_SCRIPT.format(path=path, status=status))
        told = subprocess.run(
            ['wrk', '--threads', '1', '--connections', '20', '--duration', '2s', '--timeout', f'{LIMIT_S}s', '--script',
             script, *options, url], check=True, capture_output=True, text=True, timeout=2 * LIMIT_S).stdout
        self.assertNotIn('Socket errors', told)
        self.assertNotIn('Non-2xx', told)
        right, wrong = map(int, re.search(r'bodies: (\d+) right, (\d+) wrong', told).groups())
        self.assertEqual(wrong, 0, told)
        # Of those connections that had one, each has had another: they stay.
        self.assertGreater(right, 20, told)

    def test_gets_small_files(self):
        for base in self.both:
            with self.subTest(base=base):
                self.load(f'{base}/4096', self.root / '4096')

    def test_gets_large_files(self):
        for base in self.both:
            with self.subTest(base=base):
                self.load(f'{base}/131072', self.root / '131072')

    def test_gets_ranges(self):
        part = self.temporary / 'part'
        part.write_bytes(self.content['131072'][1000:101_000])
        for base in self.both:
            with self.subTest(base=base):
                self.load(f'{base}/131072', part, '--header', 'Range: bytes=1000-100999', status=206)


if __name__ == '__main__':
    main('wrk', 'openssl')

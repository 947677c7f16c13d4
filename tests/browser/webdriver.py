# SPDX-License-Identifier: MIT
"""Headless Chromium, driven through chromedriver by the W3C WebDriver protocol: as much of it as the tests need."""
import base64
import contextlib
import http.client
import json
import os
import re
import subprocess
import tempfile
import time

# Generous: a browser that starts on a busy machine.
LIMIT_S = 40
ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'  # what the protocol calls a reference to one


class WebDriverError(RuntimeError):
    """What the driver says; `code` is the protocol's name for it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Browser(contextlib.AbstractContextManager):
    """One window. Its profile is a temporary directory's."""

    def __init__(self, dark=False, size=(1280, 900)):
        self._profile = tempfile.TemporaryDirectory()
        # Port 0: the system chooses, and chromedriver says which.
        self._driver = subprocess.Popen(
            ['chromedriver', '--port=0', '--allowed-ips=127.0.0.1'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=dict(os.environ, HOME=self._profile.name))
        self._session = None
        try:
            for line in self._driver.stdout:
                if found := re.search(r'started successfully on port (\d+)', line):
                    self._port = int(found.group(1))
                    break
            else:
                raise RuntimeError('chromedriver did not start')
            options = ['--headless=new', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
                       '--disable-background-networking', '--disable-component-update', '--hide-scrollbars',
                       f'--user-data-dir={self._profile.name}/data', f'--window-size={size[0]},{size[1]}']
            if os.geteuid() == 0:
                options.append('--no-sandbox')  # Chromium refuses to run as root with one
            if dark:
                options.append('--blink-settings=preferredColorScheme=0')
            answer = self._call('POST', '/session', {'capabilities': {'alwaysMatch': {
                'browserName': 'chrome', 'goog:chromeOptions': {'args': options},
                'goog:loggingPrefs': {'browser': 'ALL'}, 'unhandledPromptBehavior': 'ignore',
                'acceptInsecureCerts': True, 'timeouts': {'script': LIMIT_S * 1000}}}})
            self._session = f'/session/{answer["sessionId"]}'
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(Exception):
            if self._session:
                self._call('DELETE', self._session)
        self._driver.terminate()
        try:
            self._driver.wait(10)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()
        self._driver.stdout.close()
        with contextlib.suppress(OSError):  # a process of the browser may write to it to the last
            self._profile.cleanup()

    def open(self, url):
        self._command('POST', '/url', {'url': url})

    def run(self, script, *arguments):
        """What a function body in JavaScript returns; `arguments[0]` and so on are there."""
        return self._command('POST', '/execute/sync', {'script': script, 'args': list(arguments)})

    def find(self, selector):
        found = self._command('POST', '/element', {'using': 'css selector', 'value': selector})
        return {ELEMENT: found[ELEMENT]}

    def click(self, selector):
        self._command('POST', f'/element/{self.find(selector)[ELEMENT]}/click', {})

    def type_into(self, selector, text):
        """Into a file input: the path of a file."""
        self._command('POST', f'/element/{self.find(selector)[ELEMENT]}/value', {'text': text})

    def accept_alert(self):
        self._command('POST', '/alert/accept', {})

    def wait_for(self, what, script, *arguments):
        """Until `script` returns something true, which is returned. The page looks, each time it has drawn itself."""
        look = f'''
            const given = [...arguments];
            const tell = given.pop();
            const look = () => {{
              const found = (function () {{ {script} }})(...given);
              found ? tell(found) : requestAnimationFrame(look);
            }};
            look();'''
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            try:
                return self._command('POST', '/execute/async', {'script': look, 'args': list(arguments)})
            except WebDriverError as fault:
                if fault.code == 'script timeout':
                    break
                if 'unloaded' not in str(fault):  # what is waited for may be on the next page
                    raise
        raise AssertionError(f'waited {LIMIT_S} s in vain for {what}; the page says: {self.run("return document.body.innerText")}')

    def complaints(self):
        """What the console has of errors: scripts that fail, and whatever the page's policy forbids."""
        entries = self._command('POST', '/se/log', {'type': 'browser'})
        return [entry['message'] for entry in entries if entry['level'] == 'SEVERE']

    def picture(self, path):
        with open(path, 'wb') as file:
            file.write(base64.b64decode(self._command('GET', '/screenshot')))

    def _command(self, method, path, body=None):
        return self._call(method, self._session + path, body)

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection('127.0.0.1', self._port, timeout=2 * LIMIT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {'Content-Type': 'application/json'})
            answer = connection.getresponse()
            value = json.loads(answer.read())['value']
        finally:
            connection.close()
        if answer.status != 200:
            raise WebDriverError(value['error'], f'{method} {path}: {value["error"]}: {value["message"]}')
        return value

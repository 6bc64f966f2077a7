"""Real web servers over one tree of files, each a child process on a loopback port: aiohttp, nginx, Apache, Tomcat.

Below /open and /api/public the files say ``weft-open``, everything else says ``weft-denied``. So does a second host,
and so does the first one to those who write or come with the header ``x-role: admin``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from support.envoy import free_port

DENIED, OPEN = b"weft-denied", b"weft-open"
HOST, OTHER_HOST = "shop.example", "admin.example"
SERVERS = ("aiohttp", "nginx", "Apache", "Tomcat")
_FILES = (
    "open/index.html", "open/page.txt", "open/deep/page.txt", "api/public/page.txt", "index.html", "secret.txt",
    "role.txt", "write.txt", "admin/index.html", "admin/secret.txt", "admin/deep/secret.txt", "api/private/secret.txt",
)  # fmt: skip
_SECONDS = 60
_APP = Path(__file__).parents[1] / "apps" / "tree.py"
_TOMCAT = Path("/usr/share/tomcat10")

_NGINX = """
daemon off; master_process off; pid nginx.pid; error_log nginx.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off; underscores_in_headers on; ignore_invalid_headers off; default_type text/plain;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  map $http_x_role $role {{ default ''; admin denied; }}
  map $request_method $write {{ default denied; GET ''; HEAD ''; OPTIONS ''; }}
  server {{
    listen 127.0.0.1:{port} default_server; server_name {host}; root {tree}/shop; index index.html;
    if ($role) {{ return 200 'weft-denied by role'; }}
    if ($write) {{ return 200 'weft-denied by method'; }}
  }}
  server {{ listen 127.0.0.1:{port}; server_name {other}; root {tree}/other; }}
}}
"""

_APACHE = """
ServerRoot {home}
DefaultRuntimeDir {home}
PidFile {home}/apache.pid
ErrorLog {home}/apache.log
LogLevel crit
Listen 127.0.0.1:{port}
{user}
{modules}
StartServers 1
ThreadsPerChild 25
ServerName {host}
KeepAlive On
MaxKeepAliveRequests 0
DirectoryIndex index.html
<Directory {tree}>
  Require all granted
</Directory>
<VirtualHost *:{port}>
  ServerName {host}
  DocumentRoot {tree}/shop
  RewriteEngine on
  RewriteCond %{{HTTP:X-Role}} (^|,)\\s*admin [NC]
  RewriteRule ^ /role.txt [L]
  RewriteCond %{{REQUEST_METHOD}} !^(GET|HEAD|OPTIONS)$
  RewriteRule ^ /write.txt [L]
</VirtualHost>
<VirtualHost *:{port}>
  ServerName {other}
  DocumentRoot {tree}/other
</VirtualHost>
"""
_MODULES = ("mpm_event", "authz_core", "dir", "rewrite")

_TOMCAT_SERVER = """
<Server port="-1"><Service name="Catalina">
  <Connector port="{port}" address="127.0.0.1" protocol="HTTP/1.1" maxThreads="20" maxKeepAliveRequests="-1"/>
  <Engine name="Catalina" defaultHost="{host}">
    <Host name="{host}" appBase="none" autoDeploy="false" deployOnStartup="false">
      <Valve className="org.apache.catalina.valves.rewrite.RewriteValve"/>
      <Context path="" docBase="{tree}/shop"/>
    </Host>
    <Host name="{other}" appBase="none" autoDeploy="false" deployOnStartup="false">
      <Context path="" docBase="{tree}/other"/>
    </Host>
  </Engine>
</Service></Server>
"""
_TOMCAT_WEB = """
<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="5.0">
  <servlet>
    <servlet-name>default</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
    <load-on-startup>1</load-on-startup>
  </servlet>
  <servlet-mapping><servlet-name>default</servlet-name><url-pattern>/</url-pattern></servlet-mapping>
  <welcome-file-list><welcome-file>index.html</welcome-file></welcome-file-list>
</web-app>
"""
_TOMCAT_REWRITE = """
RewriteCond %{HTTP:X-Role} (^|,)\\s*admin [NC]
RewriteRule ^.*$ /role.txt [L]
RewriteCond %{REQUEST_METHOD} !^(GET|HEAD|OPTIONS)$
RewriteRule ^.*$ /write.txt [L]
"""


def write_tree(directory: Path) -> Path:
    """The files of both hosts, for everybody: Apache reads them as another user."""
    directory.parent.chmod(0o755)
    for host in ("shop", "other"):
        for name in _FILES:
            path = directory / host / name
            path.parent.mkdir(parents=True, exist_ok=True)
            is_open = host == "shop" and name.startswith(("open/", "api/public/"))
            path.write_text(f"{'weft-open' if is_open else 'weft-denied'} {host} {name}\n")
    return directory


def _aiohttp(home: Path, tree: Path, port: int) -> list[str]:
    return [sys.executable, str(_APP), str(tree / "shop")]


def _nginx(home: Path, tree: Path, port: int) -> list[str]:
    (home / "nginx.conf").write_text(_NGINX.format(port=port, tree=tree, host=HOST, other=OTHER_HOST))
    return ["nginx", "-p", str(home), "-e", "nginx.log", "-c", "nginx.conf"]


def _apache(home: Path, tree: Path, port: int) -> list[str]:
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _MODULES)
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""  # it does not serve as root
    known = {"home": home, "tree": tree, "port": port, "host": HOST, "other": OTHER_HOST}
    (home / "apache.conf").write_text(_APACHE.format(modules=modules, user=user, **known))
    return ["apache2", "-f", str(home / "apache.conf"), "-DFOREGROUND"]


def _tomcat(home: Path, tree: Path, port: int) -> list[str]:
    conf = home / "conf"
    (conf / "Catalina" / HOST).mkdir(parents=True)
    (conf / "server.xml").write_text(_TOMCAT_SERVER.format(port=port, tree=tree, host=HOST, other=OTHER_HOST))
    (conf / "web.xml").write_text(_TOMCAT_WEB)
    (conf / "Catalina" / HOST / "rewrite.config").write_text(_TOMCAT_REWRITE)
    libraries = ":".join(str(_TOMCAT / "bin" / name) for name in ("bootstrap.jar", "tomcat-juli.jar"))
    return [
        "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dcatalina.home={_TOMCAT}",
        f"-Dcatalina.base={home}", f"-Djava.io.tmpdir={home}", "-cp", libraries,
        "org.apache.catalina.startup.Bootstrap", "start",
    ]  # fmt: skip


_COMMANDS: dict[str, Callable[[Path, Path, int], list[str]]] = {
    "aiohttp": _aiohttp,
    "nginx": _nginx,
    "Apache": _apache,
    "Tomcat": _tomcat,
}


@contextlib.asynccontextmanager
async def running_servers(*names: str) -> AsyncIterator[dict[str, int]]:
    """The servers of these names, ready, with their ports."""
    ports = {name: free_port() for name in names}
    with tempfile.TemporaryDirectory(prefix="weft-servers-") as directory:
        root = Path(directory)
        tree = write_tree(root / "tree")
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(_running(name, root, tree, port)) for name, port in ports.items()}
            for name, port in ports.items():
                await _ready(port, running[name], root / name / "out")
            yield ports


@contextlib.contextmanager
def _running(name: str, root: Path, tree: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    home = root / name
    home.mkdir()
    command = _COMMANDS[name](home, tree, port)
    environment = os.environ | {"PORT": str(port)}
    with (home / "out").open("wb") as output:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _ready(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    """It serves an open file, and shows what is denied to those who ask it without a proxy."""
    deadline = time.monotonic() + _SECONDS
    while True:
        with contextlib.suppress(OSError):
            if OPEN in await plainly(port, "/open/page.txt"):
                break
        assert process.poll() is None and time.monotonic() < deadline, _tail(output)
        await asyncio.sleep(0.05)


def _tail(output: Path) -> str:
    return output.read_text(errors="replace")[-3000:]


async def plainly(port: int, target: str, *headers: str, host: str = HOST, method: str = "GET") -> bytes:
    """All of the answer to one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", "Content-Length: 0", *headers)
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await asyncio.wait_for(reader.read(-1), _SECONDS)
    finally:
        writer.close()

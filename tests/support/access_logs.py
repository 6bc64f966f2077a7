"""Formats and filters of access logs that Envoy takes, and that it refuses: the decoder is compared with it."""

from __future__ import annotations

EXPRESSIONS = """
response.code >= 400
response.code == 1u || -response.code < 1 || 0x1F == 31
request.method == 'GET' && !request.path.startsWith('/health')
connection.mtls && request.url_path.contains("v1beta3")
request.url_path.matches('^/x')
request.headers['x-a'] == r'a\\d' && 'x-a' in request.headers
has(request.headers.x) ? size(request.path) > 3 : false
response.code in [200, 500]
request.time < timestamp('2020-01-01T00:00:00Z') || request.time.getHours() > 3
request.duration > duration('1s') && int(request.headers['a']) > 3 && double(1) > 1.5e3
{'a': 1}.a == 1
type(1) == int && dyn(1) == 1 && bytes('a') == b'a' && null == null
request.path + 'a' == "b" // and a comment
metadata.filter_metadata['a'].b == 1 || filter_state['a'] == 'x'
xds.route_metadata.filter_metadata['weft'].src == 'a' || xds.node.id == ''
upstream.address == '' || source.address.startsWith('127') || destination.port == 80
.request.path == 'x'
((((response.flags != 0))))
""".strip().splitlines()

REFUSED_EXPRESSIONS = """
response.code >=
'unterminated
response.code == 1)
[1, 2].exists(x, x == response.code)
request.headers.all(h, h != 'x')
request.path.foo()
request.path.lowerAscii() == 'a'
string(destination.port) == '1'
request.path.matches('(')
"a" 'b' == 'x'
foo(1)
request.path = 'x'
""".strip().splitlines()

STRANGE_EXPRESSIONS = """
foo == 'bar'
request.pth == 'x'
response['cod'] == 200
""".strip().splitlines()
"""Which Envoy takes, and which are never true."""

FORMATS = (
    "%START_TIME(%Y-%m-%dT%H:%M:%S.%3f%z)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):10% %%",
    "%METADATA(ROUTE:weft:src)% %METADATA(CLUSTER:a)% %DYNAMIC_METADATA(a:b)% %FILTER_STATE(a:FIELD:b)%",
    "%REQ_WITHOUT_QUERY(:PATH)% %PATH(NQ)% %PATH(WQ:ORIG):10% %QUERY_PARAM(a)%",
    "%GRPC_STATUS(NUMBER)% %COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)% %CEL(request.headers['a']):10%",
    "%ENVIRONMENT(HOME)%",
    "%DURATION%%DURATION%\nsecond line",
)
REFUSED_FORMATS = (
    "%DURATON%",
    "%DURATION",
    "100%",
    "%duration%",
    "%REQ%",
    "%REQ(a?b?c)%",
    "%REQ(a):-1%",
    "%REQ(a)b%",
    "%RESPONSE_CODE:3%",
    "%DURATION(1)%",
    "%METADATA(FOO:a)%",
    "%CEL(foo()%",
)

#!/bin/sh
# The clients of docs/clients.md that the test suite does not run, since not every machine has their runtimes.
#
#   ./run weft up -f tests/clients/weft.yaml
#   ./run weft run --name caller --upstream hello:80 -- sh tests/clients/by_hand.sh
#
# NODE, GO and JAVA name other programs than those on the PATH.
cd "$(dirname "$0")" || exit

try() {
    row=$1
    shift
    if answer=$("$@" 2>&1); then
        case $answer in
            *hello*) echo "yes  $row" ;;
            *) echo "?    $row: $(echo "$answer" | tail -n 1)" ;;
        esac
    else
        echo "no   $row: $(echo "$answer" | tail -n 1)"
    fi
}

node=${NODE:-node} go=${GO:-go} java=${JAVA:-java}
if "$node" --version; then
    try "Node fetch" "$node" node_fetch.mjs http://hello/
    try "Node http" "$node" node_http.mjs http://hello/
    try "Node WebSocket" "$node" node_websocket.mjs ws://hello/ws
fi
if "$go" version && (cd go && "$go" build -o "${TMPDIR:-/tmp}/weft-go-client" .); then
    client=${TMPDIR:-/tmp}/weft-go-client
    try "Go net/http" "$client" http http://hello/
    try "Go gRPC" "$client" grpc greeter:50051
    try "Go gRPC, HTTPS_PROXY" env HTTPS_PROXY="$HTTP_PROXY" "$client" grpc greeter:50051
    rm -f "$client"
fi
if "$java" --version; then
    try "Java HttpClient" "$java" JavaHttpClient.java http://hello/
    try "Java HttpClient, http.proxyHost" "$java" -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort="${HTTP_PROXY##*:}" \
        JavaHttpClient.java http://hello/
fi

// The plugin that a container runtime calls for each pod (https://www.cni.dev/docs/spec/): it asks the agent of its node,
// which does everything. It has no say of its own: without an agent, what it was given goes on as it is, and no pod is
// kept from starting. Whether a pod of the mesh is captured is looked at in the pod itself.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// Where the agent listens if the configuration does not say.
	usualSocket = "/run/weft-cni/agent.sock"
	// The agent answers within ten seconds, or not at all.
	patience = 15 * time.Second
	// No configuration of a network is as long.
	longest = 4 << 20
	// Error codes of the specification.
	badVersion, badEnvironment, badIO, badContent, badConfiguration, tryAgain = 1, 4, 5, 6, 7, 11
)

// A chained plugin passes on what others made, whose form is the same in all of these.
var versions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

type configuration struct {
	Version  string          `json:"cniVersion"`
	Socket   string          `json:"socket"`
	Previous json.RawMessage `json:"prevResult"`
}

// What the agent is asked; see weft.agent.cni.requests.
type request struct {
	Command       string          `json:"command"`
	Container     string          `json:"container"`
	Namespace     string          `json:"namespace"`
	Arguments     string          `json:"arguments"`
	Configuration json.RawMessage `json:"configuration"`
}

type failure struct {
	Version string `json:"cniVersion"`
	Code    uint   `json:"code"`
	Message string `json:"msg"`
	Details string `json:"details,omitempty"`
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "ready" {
		os.Exit(ready(os.Args[2]))
	}
	given, err := io.ReadAll(io.LimitReader(os.Stdin, longest))
	if err != nil {
		os.Exit(fail(failure{Code: badIO, Message: "the configuration cannot be read: " + err.Error()}))
	}
	os.Exit(serve(os.Getenv("CNI_COMMAND"), given))
}

// Whether an agent answers at a socket: for a probe of its pod.
func ready(socket string) int {
	refused, err := ask(socket, request{Command: "READY", Configuration: json.RawMessage("{}")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if refused.Code != 0 {
		fmt.Fprintln(os.Stderr, refused.Message)
		return 1
	}
	return 0
}

func serve(command string, given []byte) int {
	asked := configuration{Version: versions[len(versions)-1], Socket: usualSocket}
	if err := json.Unmarshal(given, &asked); err != nil {
		return fail(failure{Version: asked.Version, Code: badContent, Message: "the configuration is no JSON: " + err.Error()})
	}
	if command == "VERSION" {
		return answer(map[string]any{"cniVersion": asked.Version, "supportedVersions": versions})
	}
	if !slices.Contains(versions, asked.Version) {
		text := fmt.Sprintf("cniVersion: found %q, expected one of %s", asked.Version, strings.Join(versions, ", "))
		return fail(failure{Version: versions[len(versions)-1], Code: badVersion, Message: text})
	}
	switch command {
	case "STATUS", "GC": // it serves without an agent, too, and keeps nothing
		return 0
	case "ADD", "CHECK", "DEL":
		return change(command, asked, given)
	}
	text := fmt.Sprintf("CNI_COMMAND: found %q, expected ADD, CHECK, DEL, GC, STATUS or VERSION", command)
	return fail(failure{Version: asked.Version, Code: badEnvironment, Message: text})
}

func change(command string, asked configuration, given []byte) int {
	wanted := []string{"CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"}
	if command == "DEL" { // its namespace may be gone
		wanted = wanted[:2]
	}
	for _, name := range wanted {
		if os.Getenv(name) == "" {
			return fail(failure{Version: asked.Version, Code: badEnvironment, Message: name + " is missing"})
		}
	}
	if command != "DEL" && len(asked.Previous) == 0 {
		text := "prevResult is missing: weft-cni stands behind the plugin that makes the pods' network, never alone"
		return fail(failure{Version: asked.Version, Code: badConfiguration, Message: text})
	}
	refused, err := ask(asked.Socket, request{
		Command:       command,
		Container:     os.Getenv("CNI_CONTAINERID"),
		Namespace:     os.Getenv("CNI_NETNS"),
		Arguments:     os.Getenv("CNI_ARGS"),
		Configuration: given,
	})
	if err != nil {
		text := "the node agent of weft does not answer: " + err.Error()
		if command == "CHECK" {
			return fail(failure{Version: asked.Version, Code: tryAgain, Message: text})
		}
		fmt.Fprintln(os.Stderr, "weft-cni:", text)
	} else if refused.Code != 0 {
		refused.Version = asked.Version
		return fail(refused)
	}
	if command == "ADD" {
		return answer(asked.Previous)
	}
	return 0
}

func ask(socket string, what request) (failure, error) {
	var answered failure
	connection, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return answered, err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return answered, err
	}
	if err := json.NewEncoder(connection).Encode(what); err != nil {
		return answered, err
	}
	if err := connection.(*net.UnixConn).CloseWrite(); err != nil {
		return answered, err
	}
	err = json.NewDecoder(io.LimitReader(connection, longest)).Decode(&answered)
	return answered, err
}

func fail(what failure) int {
	answer(what)
	return 1
}

func answer(what any) int {
	if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
		return 1
	}
	return 0
}

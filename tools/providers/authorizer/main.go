// Command authorizer answers Envoy's external authorization questions with policies of Open Policy Agent.
//
// The input of a policy is what opa-envoy-plugin makes of a question: `input.attributes` as in Envoy's CheckRequest,
// `input.parsed_path` and `input.parsed_query`. The query is data.envoy.authz.allow: a boolean, or an object with
// `allowed`, and perhaps `headers`, `http_status` and `body`.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/url"
	"os"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/v1/rego"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

type server struct {
	auth.UnimplementedAuthorizationServer
	query rego.PreparedEvalQuery
}

func (s *server) Check(ctx context.Context, question *auth.CheckRequest) (*auth.CheckResponse, error) {
	input, err := inputOf(question)
	if err != nil {
		return nil, err
	}
	results, err := s.query.Eval(ctx, rego.EvalInput(input))
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return refused(403, "", nil), nil
	}
	switch value := results[0].Expressions[0].Value.(type) {
	case bool:
		if value {
			return allowed(nil), nil
		}
		return refused(403, "", nil), nil
	case map[string]any:
		headers := map[string]string{}
		if given, ok := value["headers"].(map[string]any); ok {
			for name, text := range given {
				headers[name], _ = text.(string)
			}
		}
		if yes, _ := value["allowed"].(bool); yes {
			return allowed(headers), nil
		}
		code := 403
		if number, ok := value["http_status"].(json.Number); ok {
			if given, err := number.Int64(); err == nil {
				code = int(given)
			}
		}
		body, _ := value["body"].(string)
		return refused(code, body, headers), nil
	}
	return refused(403, "", nil), nil
}

func inputOf(question *auth.CheckRequest) (map[string]any, error) {
	text, err := protojson.Marshal(question)
	if err != nil {
		return nil, err
	}
	input := map[string]any{}
	if err := json.Unmarshal(text, &input); err != nil {
		return nil, err
	}
	target, err := url.Parse(question.GetAttributes().GetRequest().GetHttp().GetPath())
	if err != nil {
		return nil, err
	}
	path := []any{}
	for _, part := range strings.Split(strings.TrimPrefix(target.Path, "/"), "/") {
		path = append(path, part)
	}
	query := map[string]any{}
	for name, values := range target.Query() {
		all := []any{}
		for _, value := range values {
			all = append(all, value)
		}
		query[name] = all
	}
	input["parsed_path"], input["parsed_query"] = path, query
	return input, nil
}

func options(headers map[string]string) []*core.HeaderValueOption {
	found := []*core.HeaderValueOption{}
	for name, value := range headers {
		found = append(found, &core.HeaderValueOption{
			Header:       &core.HeaderValue{Key: name, Value: value},
			AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return found
}

func allowed(headers map[string]string) *auth.CheckResponse {
	return &auth.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{Headers: options(headers)}},
	}
}

func refused(code int, body string, headers map[string]string) *auth.CheckResponse {
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status:  &kind.HttpStatus{Code: kind.StatusCode(code)},
			Headers: options(headers),
			Body:    body,
		}},
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9191", "where questions are answered")
	policy := flag.String("policy", "policy.rego", "the policy")
	flag.Parse()
	text, err := os.ReadFile(*policy)
	if err != nil {
		log.Fatal(err)
	}
	query, err := rego.New(
		rego.Query("data.envoy.authz.allow"), rego.Module(*policy, string(text)),
	).PrepareForEval(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	answering := grpc.NewServer()
	auth.RegisterAuthorizationServer(answering, &server{query: query})
	log.Printf("answering at %s", listener.Addr())
	log.Fatal(answering.Serve(listener))
}

// Go's clients: main http URL, or main grpc HOST:PORT, prints the answer.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// raw carries a message's bytes as they are, so that no generated code is needed.
type raw struct{}

func (raw) Name() string                      { return "raw" }
func (raw) Marshal(value any) ([]byte, error) { return *value.(*[]byte), nil }
func (raw) Unmarshal(data []byte, value any) error {
	*value.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func main() {
	var text []byte
	var err error
	if os.Args[1] == "grpc" {
		text, err = call(os.Args[2])
	} else {
		text, err = get(os.Args[2])
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
}

func get(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

func call(target string) ([]byte, error) {
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	deadline, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, answer := []byte("hello"), []byte{}
	err = channel.Invoke(deadline, "/test.Echo/Unary", &request, &answer, grpc.ForceCodec(raw{}))
	return answer, err
}

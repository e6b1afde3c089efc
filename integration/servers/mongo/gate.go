package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// gate passes messages of the MongoDB protocol on to a server, one change and the reply to
// it at a time.
type gate struct {
	to string // the address of the server
	mu sync.Mutex
}

// serve passes on what comes to the listener, until that is closed.
func (g *gate) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go g.pass(client)
	}
}

// pass passes on the requests of a client until one of both ends.
func (g *gate) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		request, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := g.ask(server, request)
		if err != nil {
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// ask returns the reply to a request; nil for one that gets none. Changes wait for each
// other.
func (g *gate) ask(server net.Conn, request []byte) ([]byte, error) {
	switch command(request) {
	case "insert", "update", "delete", "findAndModify":
		g.mu.Lock()
		defer g.mu.Unlock()
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	if isSilent(request) {
		return nil, nil
	}
	return readMessage(server)
}

// The header of a message: its length with the header, its number, the number of that
// which it answers, and what it is, each four bytes, the least significant first. Flags
// follow in an OP_MSG.
const (
	headerLength = 16
	opMsg        = 2013
	moreToCome   = 1 << 1 // the sender wants no reply
	maxLength    = 48_000_000 + headerLength
)

// command returns the name of the command in an OP_MSG. It is the first key of a document,
// before which come the flags, the kind of the section, and the length of the document and
// the type of the value.
func command(request []byte) string {
	const at = headerLength + 4 + 1 + 4 + 1
	if len(request) < at || binary.LittleEndian.Uint32(request[12:]) != opMsg {
		return ""
	}
	name, _, _ := bytes.Cut(request[at:], []byte{0})
	return string(name)
}

func isSilent(request []byte) bool {
	return len(request) >= headerLength+4 &&
		binary.LittleEndian.Uint32(request[12:]) == opMsg &&
		binary.LittleEndian.Uint32(request[headerLength:])&moreToCome != 0
}

func readMessage(from io.Reader) ([]byte, error) {
	var header [headerLength]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header[:])
	if length < headerLength || length > maxLength {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	message := make([]byte, length)
	copy(message, header[:])
	_, err := io.ReadFull(from, message[headerLength:])
	return message, err
}

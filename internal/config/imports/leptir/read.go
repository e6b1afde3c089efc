package leptir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"procops/internal/config/source"
)

// node is a value of the configuration, with its place.
type node struct {
	at     source.Position
	path   string // the keys that lead to it
	value  any    // string, json.Number, bool or nil; of an array or object nothing
	fields []field
	used   bool // somebody has asked for it
}

// field is a value in an array of PHP. A list has the numbers from 0 as keys.
type field struct {
	key string
	*node
}

// reader reads JSON.
type reader struct {
	file, text string
	tokens     *json.Decoder
}

// read reads a file of JSON.
func read(file, text string) (*node, error) {
	if !json.Valid([]byte(text)) {
		return nil, errors.New("it is not JSON")
	}
	r := reader{file: file, text: text, tokens: json.NewDecoder(strings.NewReader(text))}
	r.tokens.UseNumber()
	return r.value("")
}

// place returns where the decoder is.
func (r *reader) place() source.Position {
	before := r.text[:r.tokens.InputOffset()]
	line := strings.Count(before, "\n") + 1
	return source.Position{File: r.file, Line: line, Column: len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1}
}

func (r *reader) value(path string) (*node, error) {
	at := r.place()
	token, err := r.tokens.Token()
	if err != nil {
		return nil, err
	}
	n := &node{at: at, path: path, value: token}
	open, container := token.(json.Delim)
	if !container {
		return n, nil
	}
	n.value = nil
	for i := 0; r.tokens.More(); i++ {
		key := strconv.Itoa(i)
		if open == '{' {
			token, err := r.tokens.Token()
			if err != nil {
				return nil, err
			}
			key = fmt.Sprint(token)
		}
		child, err := r.value(strings.TrimPrefix(path+"."+key, "."))
		if err != nil {
			return nil, err
		}
		n.fields = append(n.fields, field{key, child})
	}
	_, err = r.tokens.Token() // the end
	return n, err
}

// get returns the value under some keys, nil if there is none.
func (n *node) get(keys ...string) *node {
	for _, key := range keys {
		if n == nil {
			return nil
		}
		n.used = true
		at := slices.IndexFunc(n.fields, func(f field) bool { return f.key == key })
		if at < 0 {
			return nil
		}
		n = n.fields[at].node
	}
	if n != nil {
		n.used = true
	}
	return n
}

// items returns what an array holds.
func (n *node) items() []field {
	if n == nil {
		return nil
	}
	n.used = true
	return n.fields
}

// text returns a value as PHP would make a string of it.
func (n *node) text() string {
	if n == nil || n.value == nil {
		return ""
	}
	return fmt.Sprint(n.value)
}

// number returns a value as a number; false where it is none, or one below zero.
func (n *node) number() (float64, bool) {
	f, err := strconv.ParseFloat(n.text(), 64)
	return f, err == nil && f >= 0 && f < 1e9
}

// unused calls do for each value that nobody has asked for, in order.
func (n *node) unused(do func(*node)) {
	if !n.used {
		do(n)
		return
	}
	for _, f := range n.fields {
		f.unused(do)
	}
}

// isPHP reports whether a file is the PHP code and not what is made of it.
func isPHP(text string) bool {
	return bytes.Contains([]byte(text[:min(len(text), 1000)]), []byte("<?php"))
}

package main

import (
	"bytes"
	"os"
	"testing"
)

func TestPageIsCurrent(t *testing.T) {
	got, err := os.ReadFile("../../../../docs/drop-reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, markdown()) {
		t.Error("docs/drop-reasons.md is stale: run go generate ./router/packet")
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// nodes is the directory by which deploy/kafka/run has single nodes of the cluster
// stopped and started (KLAMM_KAFKA_CONTROL).
type nodes string

// order has something done to a node, counted from 1.
func (n nodes) order(order string, node int) error {
	// Opening it for reading too does not wait for the other end.
	orders, err := os.OpenFile(filepath.Join(string(n), "orders"), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("reach the nodes of the cluster: %w", err)
	}
	defer func() { _ = orders.Close() }()
	if _, err := fmt.Fprintf(orders, "%s %d\n", order, node); err != nil {
		return fmt.Errorf("%s node %d: %w", order, node, err)
	}
	return nil
}

// is says whether a node is "up", "starting" or "down".
func (n nodes) is(node int, state string) bool {
	text, err := os.ReadFile(filepath.Join(string(n), "nodes"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(bytes.Split(text, []byte("\n")), func(line []byte) bool {
		fields := bytes.Fields(line)
		return len(fields) >= 3 && string(fields[0]) == fmt.Sprint(node) && string(fields[2]) == state
	})
}

// lose kills a node, and returns when it is gone.
func (n nodes) lose(ctx context.Context, s *stage, node int) error {
	if err := n.order("kill", node); err != nil {
		return err
	}
	return s.until(ctx, fmt.Sprintf("node %d is down", node), patience, func() bool { return n.is(node, "down") })
}

// bringBack starts a node again, and returns when it has rejoined the cluster.
func (n nodes) bringBack(ctx context.Context, s *stage, node int) error {
	if err := n.order("start", node); err != nil {
		return err
	}
	return s.until(ctx, fmt.Sprintf("node %d is up", node), 2*patience, func() bool { return n.is(node, "up") })
}

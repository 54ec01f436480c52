//go:build !race

package confluent3_test

const raceEnabled = false

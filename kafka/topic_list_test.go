package kafka

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyTopicsAreAskedForOnceInAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, asked, n := newTopicList(), 0, manyTopics+1
		var failed error
		var meanwhile func()
		get := func() []Topic {
			t.Helper()
			all, err := l.get(t.Context(), func(context.Context) ([]Topic, error) {
				asked++
				if meanwhile != nil {
					meanwhile()
				}
				return slices.Repeat([]Topic{{Name: "a"}}, n), failed
			})
			if !errors.Is(err, failed) || len(all) != n {
				t.Fatalf("%d topics and %v", len(all), err)
			}
			return all
		}
		for _, step := range []struct {
			name   string
			before func()
			want   int // times that the brokers are asked
		}{
			{"the first", nil, 1},
			{"the second", nil, 0},
			{"a topic was made", l.change, 1},
			{"after that", nil, 0},
			{"later", func() { time.Sleep(listedFor) }, 1},
			{"a topic is made while brokers are asked", func() { l.change(); meanwhile = l.change }, 1},
			{"after that", func() { meanwhile = nil }, 1},
			{"no broker answers", func() { l.change(); failed = errors.New("no answer") }, 1},
			{"nor then", nil, 1},
			{"few topics", func() { failed, n = nil, manyTopics }, 1},
			{"few topics again", nil, 1},
		} {
			if step.before != nil {
				step.before()
			}
			was := asked
			get()
			if got := asked - was; got != step.want {
				t.Errorf("%s: asked %d times, want %d", step.name, got, step.want)
			}
		}
	})
}

func TestWhoWaitsForTopicsIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, answer := newTopicList(), make(chan struct{})
		go func() {
			_, _ = l.get(t.Context(), func(context.Context) ([]Topic, error) { <-answer; return nil, nil })
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.get(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(answer)
	})
}

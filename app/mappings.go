package app

import "context"

// putObject writes an object for an event source mapping; nil: there is no store.
func (a *App) putObject() func(ctx context.Context, bucket, key, mediaType string, body []byte) error {
	if a.objects.store == nil {
		return nil
	}
	return a.objects.store.Put
}

package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"

	"github.com/klamm-gateway/klamm/objectstore"
	"github.com/klamm-gateway/klamm/secret"
)

// objects is the object store of the configuration and, where it is a directory, the
// S3 endpoint that functions find it at.
type objects struct {
	store       *objectstore.Store // nil: there is none
	server      *objectstore.Server
	environment map[string]string // of functions
}

// openObjects opens the object store. Its endpoint listens on an address and with a
// key of this process's own: only the functions that it starts know them.
func (a *App) openObjects(ctx context.Context) error {
	cfg, region := a.cfg.ObjectStores.Default, a.cfg.AWS.Region
	if cfg == (objectstore.Config{}) {
		return nil
	}
	var err error
	if a.objects.store, err = objectstore.Open(ctx, cfg, region, secret.Local, a.egress.Transport()); err != nil {
		return fmt.Errorf("object_stores.default: %w", err)
	}
	endpoint, key := a.objects.store.Service()
	if directory := a.objects.store.Directory(); directory != nil {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("object_stores.default: listen for functions: %w", err)
		}
		endpoint, key = "http://"+listener.Addr().String(), objectstore.Credential{AccessKey: "KLAMM" + rand.Text()[:15], SecretKey: rand.Text() + rand.Text()}
		a.objects.server = objectstore.NewServer(directory, key, region, a.log)
		go func() { // ends with closeObjects
			if err := a.objects.server.Serve(listener); err != nil {
				a.log.Error("the object store is not served to functions any more", "err", err)
			}
		}()
	}
	a.objects.environment = map[string]string{"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": key.AccessKey, "AWS_SECRET_ACCESS_KEY": key.SecretKey}
	return nil
}

// closeObjects ends the endpoint, after the functions have ended.
func (a *App) closeObjects() {
	if a.objects.server != nil {
		_ = a.objects.server.Close(stopped())
	}
}

package front

import (
	"net/http"
	"strings"
)

// spareUpload lets an answer that refuses a request go out at once where the
// client waits for "100 Continue" before it sends its body: net/http would ask for
// the body first, to find the next request behind it (gateway-policies.md 6.1).
func spareUpload(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		return
	}
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).EnableFullDuplex()
}

package aws

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
)

// maxInvokeAsync is the largest event of the old InvokeAsync, in bytes.
const maxInvokeAsync = 256 << 10

// invoke runs a function (function-targets.md 1.1 and 1.2).
func (l lambda) invoke(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := l.nameOf(r)
	if err != nil {
		return err
	}
	in := function.Invocation{ID: uuid.NewString(), Trace: r.Header.Get("X-Amzn-Trace-Id"), Tenant: r.Header.Get("X-Amz-Tenant-Id")}
	if len(in.Tenant) > 256 {
		return invalidParameter("1 validation error detected: Value at 'tenantId' failed to satisfy constraint: Member must have length less than or equal to 256")
	}
	kind := r.Header.Get("X-Amz-Invocation-Type")
	largest := function.MaxPayload
	switch kind {
	case "", "RequestResponse":
		kind = "RequestResponse"
	case "Event":
		largest = function.MaxAsync
	case "DryRun":
	default:
		return invalidParameter("1 validation error detected: Value '" + clip(kind) + "' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]")
	}
	switch log := r.Header.Get("X-Amz-Log-Type"); log {
	case "", "None":
	case "Tail":
		in.Tail = true
	default:
		return invalidParameter("1 validation error detected: Value '" + clip(log) + "' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]")
	}
	if in.ClientContext, err = clientContext(r.Header.Get("X-Amz-Client-Context")); err != nil {
		return err
	}
	h := w.Header()
	h.Set("X-Amzn-Requestid", in.ID)
	if in.Payload, err = payload(r, largest); err != nil {
		return err
	}
	switch kind {
	case "DryRun":
		if err := l.functions.MayInvoke(r.Context(), who, name); err != nil {
			return l.missing(name, err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	case "Event":
		if err := l.functions.Enqueue(r.Context(), who, name, in); err != nil {
			return l.missing(name, err)
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	out, err := l.functions.Invoke(r.Context(), who, name, in)
	if err != nil {
		return l.missing(name, err)
	}
	h.Set("X-Amz-Executed-Version", cmp.Or(out.Version, "$LATEST"))
	h.Set("Content-Type", "application/json")
	if in.Trace != "" {
		h.Set("X-Amzn-Trace-Id", in.Trace)
	}
	if out.Error != "" {
		h.Set("X-Amz-Function-Error", out.Error)
	}
	if in.Tail {
		h.Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(out.Log))
	}
	_, err = w.Write(out.Payload)
	return err
}

// clientContext returns the JSON of the header.
func clientContext(header string) (string, error) {
	if header == "" {
		return "", nil
	}
	text, err := base64.StdEncoding.DecodeString(header)
	if err != nil || len(header) > 3583 || !scan.Valid(text) {
		return "", &lambdaFault{name: "InvalidRequestContentException", status: http.StatusBadRequest, message: "Client context must be a valid Base64-encoded JSON object of at most 3583 bytes."}
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, text); err != nil { // a header has no line ends
		return "", err
	}
	return plain.String(), nil
}

// payload reads the event: JSON or nothing.
func payload(r *http.Request, largest int) ([]byte, error) {
	tooLarge := &lambdaFault{name: "RequestTooLargeException", status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", largest)}
	if r.ContentLength > int64(largest) {
		return nil, tooLarge
	}
	data, release, err := front.ReadBody(r)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(data) > largest {
		return nil, tooLarge
	}
	if len(data) > 0 && !(utf8.Valid(data) && scan.Valid(data)) {
		return nil, &lambdaFault{name: "InvalidRequestContentException", status: http.StatusBadRequest, message: "Could not parse request body into json: it is not JSON"}
	}
	return bytes.Clone(data), nil
}

// invokeAsync is the old form of an invocation that nobody waits for.
func (l lambda) invokeAsync(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := l.nameOf(r)
	if err != nil {
		return err
	}
	in := function.Invocation{ID: uuid.NewString()}
	if in.Payload, err = payload(r, maxInvokeAsync); err != nil {
		return err
	}
	if err := l.functions.Enqueue(r.Context(), who, name, in); err != nil {
		return l.missing(name, err)
	}
	w.Header().Set("X-Amzn-Requestid", in.ID)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

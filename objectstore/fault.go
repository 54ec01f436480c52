package objectstore

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"syscall"

	"github.com/google/uuid"
)

// A fault is an error as S3 knows it.
type fault struct {
	code    string
	status  int
	message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

func denied(message string) *fault {
	return &fault{"AccessDenied", http.StatusForbidden, message}
}

func invalid(message string) *fault {
	return &fault{"InvalidArgument", http.StatusBadRequest, message}
}

func unsupported(what string) *fault {
	return &fault{"NotImplemented", http.StatusNotImplemented, what + " is not supported by this object store."}
}

var (
	notModified  = &fault{"NotModified", http.StatusNotModified, "Not Modified"}
	precondition = &fault{"PreconditionFailed", http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold"}
	malformedXML = &fault{"MalformedXML", http.StatusBadRequest, "The XML you provided was not well-formed or did not validate against our published schema."}
)

// faultOf puts any error into the words of S3.
func faultOf(err error) *fault {
	var own *fault
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, errNoBucket):
		return &fault{"NoSuchBucket", http.StatusNotFound, "The specified bucket does not exist"}
	case errors.Is(err, errNoObject):
		return &fault{"NoSuchKey", http.StatusNotFound, "The specified key does not exist."}
	case errors.Is(err, errKey):
		return &fault{"KeyTooLongError", http.StatusBadRequest, "Your key is too long, or it is not UTF-8."}
	case errors.Is(err, errMetadata):
		return unsupported("Metadata on this file system")
	case errors.Is(err, errPrecondition):
		return precondition
	case errors.Is(err, errNoUpload):
		return &fault{"NoSuchUpload", http.StatusNotFound, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."}
	case errors.Is(err, errPart):
		return &fault{"InvalidPart", http.StatusBadRequest, "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."}
	case errors.Is(err, errPartOrder):
		return &fault{"InvalidPartOrder", http.StatusBadRequest, "The list of parts was not in ascending order. Parts must be ordered by part number."}
	case errors.Is(err, errPartSize):
		return &fault{"EntityTooSmall", http.StatusBadRequest, "Your proposed upload is smaller than the minimum allowed size"}
	case errors.Is(err, errManyUploads):
		return &fault{"SlowDown", http.StatusServiceUnavailable, "Too many uploads of this bucket are unfinished; complete or abort some."}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return incomplete()
	case errors.Is(err, fs.ErrPermission):
		return denied("The files of the object store do not allow it.")
	case errors.Is(err, syscall.ENOSPC):
		return &fault{"InternalError", http.StatusInsufficientStorage, "There is no space left for the object."}
	}
	return &fault{"InternalError", http.StatusInternalServerError, "We encountered an internal error. Please try again."}
}

// requestID makes the id of a request.
func requestID() string { return uuid.NewString() }

// writeFault answers with an error.
func writeFault(w http.ResponseWriter, r *http.Request, f *fault) {
	if f == notModified || r.Method == http.MethodHead {
		w.WriteHeader(f.status)
		return
	}
	writeXML(w, f.status, struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: f.code, Message: f.message, Resource: r.URL.Path, RequestID: w.Header().Get("X-Amz-Request-Id")})
}

// writeXML answers with a document.
func writeXML(w http.ResponseWriter, status int, document any) {
	text, err := xml.Marshal(document)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	text = append([]byte(xml.Header), text...)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// clip shortens a text of a caller for an answer.
func clip(text string) string {
	if len(text) > 100 {
		return text[:100] + "..."
	}
	return text
}

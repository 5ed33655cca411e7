// Google's object storage for the tests: fake-gcs-server as a library, and before it the part of the XML API that it
// lacks and that chronik's client speaks: writing an object, on the condition that there is none of that name
// (fsouza/fake-gcs-server#994), and writing in parts (#852). Both end in an upload of fake-gcs-server's own, which is
// also what decides on the condition, under its lock.
//
//	gcs -dir DIR -port PORT -bucket NAME
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const (
	// Google's: every part but the last has this many bytes at least.
	partBytesMin = 5 << 20
	partsMax     = 10_000
	stopTime     = 3 * time.Second
)

func main() {
	dir := flag.String("dir", "", "where objects and parts are kept")
	port := flag.Int("port", 0, "port of 127.0.0.1")
	bucket := flag.String("bucket", "", "the bucket, made when it is not there")
	flag.Parse()
	if *dir == "" || *port == 0 || *bucket == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(*dir, *bucket, fmt.Sprintf("127.0.0.1:%d", *port)); err != nil {
		log.Fatal(err)
	}
}

func serve(dir, bucket, address string) error {
	google, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		StorageRoot: filepath.Join(dir, "objects"),
		NoListener:  true,
		PublicHost:  address,
		ExternalURL: "http://" + address,
		Writer:      os.Stderr,
	})
	if err != nil {
		return err
	}
	google.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	store := &store{google: google.HTTPHandler(), address: address, bucket: bucket, parts: filepath.Join(dir, "parts")}
	server := &http.Server{Addr: address, Handler: store}
	stopped := make(chan error, 1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		// An object and its attributes are two writes: what is under way must end, or no listing works any more.
		limit, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		stopped <- server.Shutdown(limit)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

type store struct {
	google  http.Handler
	address string
	bucket  string
	parts   string
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	object, inBucket := strings.CutPrefix(r.URL.Path, "/"+s.bucket+"/")
	query := r.URL.Query()
	upload := query.Get("uploadId")
	switch {
	case !inBucket || object == "":
		s.google.ServeHTTP(w, r)
	case r.Method == http.MethodPost && query.Has("uploads"):
		s.begin(w, object)
	case r.Method == http.MethodPut && upload != "":
		s.part(w, r, upload, query.Get("partNumber"))
	case r.Method == http.MethodPost && upload != "":
		s.complete(w, r, object, upload)
	case r.Method == http.MethodDelete && upload != "":
		s.abort(w, upload)
	case r.Method == http.MethodPut:
		s.put(w, r, object)
	default:
		s.google.ServeHTTP(w, r)
	}
}

// refuse answers with an error as Google words it; clients look at the status.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code></Error>", xml.Header, code)
}

func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	refuse(w, http.StatusInternalServerError, "InternalError")
}

func answer(w http.ResponseWriter, body any) {
	text, err := xml.Marshal(body)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(w, "%s%s", xml.Header, text)
}

func (s *store) put(w http.ResponseWriter, r *http.Request, object string) {
	// Whole, before fake-gcs-server has it: it reads under its lock, and a slow sender would stop everybody.
	content, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	s.write(w, object, content, r.Header.Get("X-Goog-If-Generation-Match"))
}

// write has fake-gcs-server write the object and sets the headers of that; false when it refused, which is answered then.
func (s *store) write(w http.ResponseWriter, object string, content []byte, generation string) (string, bool) {
	query := url.Values{"uploadType": {"media"}, "name": {object}}
	if generation != "" {
		query.Set("ifGenerationMatch", generation)
	}
	target := fmt.Sprintf("http://%s/upload/storage/v1/b/%s/o?%s", s.address, s.bucket, query.Encode())
	written := httptest.NewRecorder()
	s.google.ServeHTTP(written, httptest.NewRequest(http.MethodPost, target, bytes.NewReader(content)))
	if written.Code != http.StatusOK {
		refuse(w, written.Code, http.StatusText(written.Code))
		return "", false
	}
	var made struct {
		Etag       string `json:"etag"`
		Generation string `json:"generation"`
	}
	if err := json.Unmarshal(written.Body.Bytes(), &made); err != nil {
		fail(w, err)
		return "", false
	}
	etag := strconv.Quote(made.Etag)
	w.Header().Set("ETag", etag)
	w.Header().Set("X-Goog-Generation", made.Generation)
	return etag, true
}

// folder of an upload's parts; false when there is no such upload, which is answered then.
func (s *store) folder(w http.ResponseWriter, upload string) (string, bool) {
	folder := filepath.Join(s.parts, upload)
	// Our names have neither slash nor dot: others could lead out of the folder.
	if _, err := os.Stat(folder); err != nil || strings.ContainsAny(upload, "/.") {
		refuse(w, http.StatusNotFound, "NoSuchUpload")
		return "", false
	}
	return folder, true
}

func (s *store) begin(w http.ResponseWriter, object string) {
	upload := rand.Text()
	if err := os.MkdirAll(filepath.Join(s.parts, upload), 0o700); err != nil {
		fail(w, err)
		return
	}
	answer(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadId string
	}{Bucket: s.bucket, Key: object, UploadId: upload})
}

func (s *store) part(w http.ResponseWriter, r *http.Request, upload, number string) {
	folder, known := s.folder(w, upload)
	if !known {
		return
	}
	if n, err := strconv.Atoi(number); err != nil || n < 1 || n > partsMax {
		refuse(w, http.StatusBadRequest, "InvalidArgument")
		return
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	if err := os.WriteFile(filepath.Join(folder, number), content, 0o600); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("ETag", etagOf(content))
}

func etagOf(part []byte) string {
	sum := md5.Sum(part)
	return strconv.Quote(hex.EncodeToString(sum[:]))
}

func (s *store) complete(w http.ResponseWriter, r *http.Request, object, upload string) {
	folder, known := s.folder(w, upload)
	if !known {
		return
	}
	var list struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&list); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var content []byte
	for i, part := range list.Part {
		one, err := os.ReadFile(filepath.Join(folder, strconv.Itoa(part.PartNumber)))
		if err != nil || etagOf(one) != part.ETag {
			refuse(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		if i+1 < len(list.Part) && len(one) < partBytesMin {
			refuse(w, http.StatusBadRequest, "EntityTooSmall")
			return
		}
		content = append(content, one...)
	}
	etag, written := s.write(w, object, content, r.Header.Get("X-Goog-If-Generation-Match"))
	if !written {
		return
	}
	if err := os.RemoveAll(folder); err != nil {
		fail(w, err)
		return
	}
	answer(w, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket  string
		Key     string
		ETag    string
	}{Bucket: s.bucket, Key: object, ETag: etag})
}

func (s *store) abort(w http.ResponseWriter, upload string) {
	folder, known := s.folder(w, upload)
	if !known {
		return
	}
	if err := os.RemoveAll(folder); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

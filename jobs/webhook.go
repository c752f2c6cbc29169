package jobs

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mvscheduler/mvscheduler/catalog"
)

const webhookTimeout = 10 * time.Second

// Webhook posts alerts as JSON to a URL. The receiver knows a delivery again by X-Mvscheduler-Delivery,
// since one may come twice, and knows that it is ours by X-Mvscheduler-Signature:
//
//	"v1=" + hex(HMAC-SHA256(secret, X-Mvscheduler-Timestamp + "." + body))
//
// It should refuse a timestamp that is more than a few minutes old.
type Webhook struct {
	url    string
	secret []byte
	client *http.Client
	now    func() time.Time
}

// NewWebhook checks the URL. An empty secret means that deliveries are not signed.
func NewWebhook(address, secret string) (*Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the URL of the webhook must begin with https:// or http:// and name a host")
	}
	client := &http.Client{
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the signature is for this receiver
	}
	return &Webhook{url: address, secret: []byte(secret), client: client, now: time.Now}, nil
}

// Send delivers one alert. Any answer but 2xx is an error.
func (w *Webhook) Send(ctx context.Context, alert catalog.Alert) error {
	body, err := json.Marshal(alert)
	if err != nil {
		return fmt.Errorf("write alert %d: %w", alert.ID, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("deliver alert %d: %w", alert.ID, err)
	}
	timestamp := strconv.FormatInt(w.now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "mvscheduler")
	request.Header.Set("X-Mvscheduler-Delivery", fmt.Sprintf("%d-%s", alert.ID, alert.Event))
	request.Header.Set("X-Mvscheduler-Timestamp", timestamp)
	if len(w.secret) > 0 {
		request.Header.Set("X-Mvscheduler-Signature", "v1="+w.sign(timestamp, body))
	}
	response, err := w.client.Do(request)
	if err != nil {
		var wrapped *url.Error // which repeats the URL, and with it what may be secret in it
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("deliver alert %d: %w", alert.ID, err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("deliver alert %d: the receiver answered %s", alert.ID, response.Status)
	}
	return nil
}

func (w *Webhook) sign(timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, w.secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// bolt writes one key of a BoltDB file, once, or again and again until it is killed:
//
//	bolt put  FILE BUCKET KEY VALUE-FILE
//	bolt loop FILE BUCKET KEY OTHER-FILE VALUE-FILE...
//
// Each change is made as Traefik v1 makes it (abronan/valkeyrie, store/boltdb): the file is opened and with that locked, one
// transaction puts a counter of eight bytes and the value, the file is closed. While it loops, the key has one value after the
// other, and other keys come, change their size and go, so that pages are freed and used again; they begin with what OTHER-FILE
// holds, which the key itself never has.
package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	others  = 24    // so many other keys
	largest = 30000 // bytes that their values have besides
)

var counter uint64

func main() {
	if len(os.Args) < 6 {
		fail(fmt.Errorf("usage: bolt put|loop FILE BUCKET KEY [OTHER-FILE] VALUE-FILE..."))
	}
	var values [][]byte
	for _, name := range os.Args[5:] {
		value, err := os.ReadFile(name)
		fail(err)
		values = append(values, value)
	}
	file, bucket, key := os.Args[2], os.Args[3], os.Args[4]
	if os.Args[1] == "loop" {
		loop(file, bucket, key, values[0], values[1:])
	} else {
		put(file, bucket, key, values[0])
	}
}

func loop(file, bucket, key string, content []byte, values [][]byte) {
	random := rand.New(rand.NewSource(1))
	for round := 0; ; round++ {
		put(file, bucket, key, values[round%len(values)])
		other, padding := fmt.Sprintf("other/%02d", random.Intn(others)), make([]byte, random.Intn(largest))
		if random.Intn(3) == 0 {
			change(file, bucket, func(b *bolt.Bucket) error { return b.Delete([]byte(other)) })
		} else {
			put(file, bucket, other, append(content[:len(content):len(content)], padding...))
		}
	}
}

func put(file, bucket, key string, value []byte) {
	change(file, bucket, func(b *bolt.Bucket) error {
		stored := binary.LittleEndian.AppendUint64(nil, counter+1)
		return b.Put([]byte(key), append(stored, value...))
	})
}

func change(file, bucket string, do func(*bolt.Bucket) error) {
	db, err := bolt.Open(file, 0o644, &bolt.Options{Timeout: 30 * time.Second})
	fail(err)
	fail(db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		return do(b)
	}))
	fail(db.Close())
	counter++
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bolt:", err)
		os.Exit(1)
	}
}

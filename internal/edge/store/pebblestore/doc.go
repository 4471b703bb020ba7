// Package pebblestore is the storage engine of one process: store.Engine on Pebble.
package pebblestore

package redisconn

import "strings"

// Slots is how many slots a Cluster's keys are spread over.
const Slots = 16384

// Slot returns a key's slot in a Cluster: the CRC16 of what stands between its first {
// and the } behind that, or of the whole key where there is nothing.
func Slot(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if size := strings.IndexByte(key[open+1:], '}'); size > 0 {
			return TagSlot(key[open+1 : open+1+size])
		}
	}
	return TagSlot(key)
}

// TagSlot returns the slot of a hash tag, which is given without its braces.
func TagSlot(tag string) int {
	var sum uint16
	for i := range len(tag) {
		sum = sum<<8 ^ crc16[byte(sum>>8)^tag[i]]
	}
	return int(sum % Slots)
}

// crc16 is the table of CRC-16/XMODEM, which the Cluster's specification names.
var crc16 = func() (table [256]uint16) {
	const polynomial = 0x1021
	for i := range table {
		sum := uint16(i) << 8
		for range 8 {
			carry := sum&0x8000 != 0
			if sum <<= 1; carry {
				sum ^= polynomial
			}
		}
		table[i] = sum
	}
	return table
}()

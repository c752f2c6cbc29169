package optimizer

import "math"

// mersenne is the generator MT19937 of Matsumoto and Nishimura (1998) with the seeding and the derived
// distributions of Python's module random. The reference simulator is written in Python; with the same
// numbers both spread and thin a trace in the same way, and their figures can be compared digit by digit.
type mersenne struct {
	state [624]uint32
	next  int
	spare float64 // the second of two normal deviates
	has   bool
}

func newMersenne(seed uint32) *mersenne {
	m := &mersenne{next: 624}
	m.state[0] = 19650218
	for i := uint32(1); i < 624; i++ {
		m.state[i] = 1812433253*(m.state[i-1]^m.state[i-1]>>30) + i
	}
	// init_by_array of the one-word key [seed]
	i := 1
	step := func(factor uint32) {
		m.state[i] ^= (m.state[i-1] ^ m.state[i-1]>>30) * factor
	}
	wrap := func() {
		if i++; i == 624 {
			m.state[0], i = m.state[623], 1
		}
	}
	for range 624 {
		step(1664525)
		m.state[i] += seed
		wrap()
	}
	for range 623 {
		step(1566083941)
		m.state[i] -= uint32(i)
		wrap()
	}
	m.state[0] = 1 << 31
	return m
}

func (m *mersenne) uint32() uint32 {
	if m.next == 624 {
		for i := range 624 {
			y := m.state[i]&(1<<31) | m.state[(i+1)%624]&(1<<31-1)
			m.state[i] = m.state[(i+397)%624] ^ y>>1 ^ -(y&1)&0x9908b0df
		}
		m.next = 0
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// below is uniform on 0 ... n-1; n is positive.
func (m *mersenne) below(n int) int {
	bits := 0
	for n>>bits > 0 {
		bits++
	}
	for {
		if x := int(m.uint32() >> (32 - bits)); x < n {
			return x
		}
	}
}

// float is uniform on [0, 1), with 53 bits.
func (m *mersenne) float() float64 {
	a, b := m.uint32()>>5, m.uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// normal is standard normal.
func (m *mersenne) normal() float64 {
	if m.has {
		m.has = false
		return m.spare
	}
	angle := m.float() * 2 * math.Pi
	radius := math.Sqrt(-2 * math.Log(1-m.float()))
	m.spare, m.has = math.Sin(angle)*radius, true
	return math.Cos(angle) * radius
}

package jobs

import "time"

const planEvery = time.Hour

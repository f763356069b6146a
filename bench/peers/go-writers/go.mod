module keelson/bench/go-writers

go 1.26

use super::*;

fn addresses(n: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..n)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let addresses = listeners.iter().map(|listener| listener.local_addr());
    addresses
        .map(|a| a.expect("an address").to_string())
        .collect()
}

fn layouts(workers: &[usize]) -> Vec<Layout> {
    let addresses = addresses(workers.len());
    let layout = |(process, &workers)| Layout {
        workers,
        process,
        addresses: addresses.clone(),
    };
    workers.iter().enumerate().map(layout).collect()
}

/// Every process at its thread; the last begins first.
fn meet_all(layouts: &[Layout]) -> Vec<Result<Option<Sockets>>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = layouts
            .iter()
            .rev()
            .map(|layout| {
                let thread = scope.spawn(|| rendezvous(layout, "job", || false));
                sleep(3 * BREATH);
                thread
            })
            .collect();
        let met = threads.into_iter().rev().map(|thread| thread.join());
        met.map(|met| met.expect("no panic")).collect()
    })
}

/// Calls until somebody listens, and says this.
fn stranger(address: &str, words: &[u8]) -> TcpStream {
    loop {
        if let Ok(mut socket) = TcpStream::connect(address) {
            socket.write_all(words).expect("a listener");
            return socket;
        }
        sleep(BREATH);
    }
}

#[test]
fn every_process_reaches_every_other_one_in_spite_of_strangers() {
    let layouts = layouts(&[2; 4]);
    let first = &layouts[0].addresses[0];
    let hello = |job: &str, processes| Hello {
        job: digest(job),
        process: 3,
        processes,
        workers: 2,
    };
    let met = std::thread::scope(|scope| {
        let zero = scope.spawn(|| rendezvous(&layouts[0], "job", || false));
        // One is silent, one speaks HTTP, one is of another job, one of another layout, and one of the job's own gave up
        // before it confirmed: none of them may take a place or end the wait.
        let strangers = [
            stranger(first, b""),
            stranger(first, b"GET / HTTP/1.1\r\n\r\n"),
            stranger(first, &hello("another", 4).to_bytes()),
            stranger(first, &hello("job", 5).to_bytes()),
        ];
        let mut late = stranger(first, &hello("job", 4).to_bytes());
        late.read_exact(&mut [0; Hello::BYTES]).expect("an answer");
        drop(late);
        let mut met = meet_all(&layouts[1..]);
        met.insert(0, zero.join().expect("no panic"));
        drop(strangers);
        met
    });
    let mut met: Vec<_> = met
        .into_iter()
        .map(|sockets| sockets.expect("a meeting").expect("no end"))
        .collect();
    for (from, to) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
        if from == to {
            assert!(met[from][to].is_none());
            continue;
        }
        let word = [from as u8, to as u8];
        let socket = met[from][to].as_mut().expect("a connection");
        socket.write_all(&word).expect("a word");
        let mut heard = [0; 2];
        let socket = met[to][from].as_mut().expect("a connection");
        socket.read_exact(&mut heard).expect("the word");
        assert_eq!(heard, word);
    }
}

#[test]
fn who_calls_with_another_layout_says_so_and_the_called_one_goes_on_waiting() {
    let layouts = layouts(&[1, 2]);
    let called = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let zero = scope.spawn(|| rendezvous(&layouts[0], "job", || called.load(Relaxed)));
        let error = rendezvous(&layouts[1], "job", || false).expect_err("a contradiction");
        assert!(error.is::<Contradiction>());
        assert!(error.to_string().contains("-n 2 -w 1"), "{error}");
        assert!(error.to_string().contains("-n 2 -w 2"), "{error}");
        called.store(true, Relaxed);
        assert!(zero.join().expect("no panic").expect("no error").is_none());
    });
}

#[test]
fn a_stop_ends_the_wait() {
    let layouts = layouts(&[1, 1]);
    assert!(
        rendezvous(&layouts[0], "job", || true)
            .expect("no error")
            .is_none()
    );
    assert!(
        rendezvous(&layouts[1], "job", || true)
            .expect("no error")
            .is_none()
    );
}

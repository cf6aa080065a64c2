//! Who is asked to look.
//!
//! Keys fall on processes by chance, machines and images differ, and a round ends with its last image. So a look goes to the
//! process that owes its owner the fewest answers: one that is slow, or has had more of others, answers late and is asked less.

/// The answers that each process owes one worker.
#[derive(Debug)]
pub struct Owed {
    /// The worker's place in its process; who is asked has the same in his.
    place: usize,
    /// Workers of a process.
    workers: usize,
    /// The worker's own process.
    own: usize,
    processes: Vec<usize>,
}

impl Owed {
    /// Nothing yet, to worker `index` of `peers`, each process having so many `workers`.
    pub fn new(index: usize, peers: usize, workers: usize) -> Self {
        Owed {
            place: index % workers,
            workers,
            own: index / workers,
            processes: vec![0; peers / workers],
        }
    }

    /// The worker to ask: of the process that owes least; of equals the own one, or the first after it, so that askers
    /// don't all turn to the same.
    pub fn ask(&mut self) -> usize {
        let count = self.processes.len();
        let after_own = (0..count).map(|step| (self.own + step) % count);
        let least = after_own.min_by_key(|&process| self.processes[process]);
        let process = least.unwrap_or(self.own);
        self.processes[process] += 1;
        process * self.workers + self.place
    }

    /// The worker that was asked has answered.
    pub fn answered(&mut self, asked: usize) {
        self.processes[asked / self.workers] -= 1;
    }

    /// Answers that are not there yet.
    pub fn all(&self) -> usize {
        self.processes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_asked_evenly_and_the_own_one_first() {
        // Three processes of two workers; worker 3 is the second one of process 1.
        let mut owed = Owed::new(3, 6, 2);
        assert_eq!([(); 7].map(|()| owed.ask()), [3, 5, 1, 3, 5, 1, 3]);
        assert_eq!(owed.all(), 7);
    }

    #[test]
    fn who_answers_late_is_asked_less() {
        let mut owed = Owed::new(0, 2, 1);
        let mut asked = [0, 0];
        let mut waiting = [(); 4].map(|()| owed.ask()).to_vec();
        // Of four looks under way the slow one, process 1, answers every fifth time.
        for turn in 0..100 {
            let who = usize::from(turn % 5 == 0);
            if let Some(at) = waiting.iter().position(|&worker| worker == who) {
                owed.answered(waiting.remove(at));
                let next = owed.ask();
                asked[next] += 1;
                waiting.push(next);
            }
        }
        assert_eq!(asked, [80, 20]);
        assert_eq!(owed.all(), 4);
    }

    #[test]
    fn a_lone_process_asks_the_asker() {
        assert_eq!([(); 3].map(|()| Owed::new(1, 2, 2).ask()), [1; 3]);
    }
}

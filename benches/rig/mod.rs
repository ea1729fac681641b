//! What the benchmarks share: which of them run, how often, and what is printed.
//!
//! A case is one function of a module `counted`, never inlined, that does so many rounds and
//! nothing else: its time is printed here, its instructions are counted by
//! `cargo xtask instructions`, which finds it by its name. With `--bench` a case runs at full
//! length, else a thousandth of that, so that no test run lets it rot. Equal sums, equal work.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use ringcast::base::time::now;

/// One thing that is measured.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// That of its function in `counted`.
    pub(crate) name: &'static str,
    /// What happens once.
    pub(crate) what: &'static str,
    /// How often it happens in a round.
    pub(crate) per_round: u64,
    /// At full length.
    pub(crate) rounds: u64,
    /// Instructions say something about it: nobody is waited for.
    pub(crate) is_counted: bool,
}

/// The benchmarks of one program.
pub(crate) struct Rig {
    is_full: bool,
    only: Option<String>,
    lists: bool,
    sum: u64,
}

impl Rig {
    /// `--bench`: at full length. `--only NAME`: this case. `--list`: names the counted cases,
    /// runs none.
    pub(crate) fn from_args() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let only = args.iter().skip_while(|arg| *arg != "--only").nth(1).cloned();
        Self { is_full: has("--bench"), only, lists: has("--list"), sum: 0 }
    }

    /// `counted` is given what `set_up` made, and how many rounds.
    pub(crate) fn run<S>(
        &mut self,
        case: Case,
        set_up: impl FnOnce() -> S,
        counted: fn(&mut S, u64) -> u64,
    ) {
        let rounds = if self.is_full { case.rounds } else { (case.rounds / 1_000).max(1) };
        let times = rounds * case.per_round;
        if self.lists {
            if case.is_counted {
                println!("{} {times} {}", case.name, case.what);
            }
            return;
        }
        if self.only.as_ref().is_some_and(|only| only != case.name) {
            return;
        }
        let mut state = set_up();
        let begun = now();
        self.sum = self.sum.wrapping_add(counted(&mut state, rounds));
        let ns = now().since(begun).as_nanos() as f64 / times as f64;
        println!("{:<18} {ns:>9.2} ns  {}", case.name, case.what);
    }

    pub(crate) fn finish(self) {
        if !self.lists {
            println!("sum {:016x}", self.sum);
        }
    }
}

//! The whole job, end to end, in layouts taken in turn: `demo` on the same images, rendered or of a folder.
//!
//! cargo bench --bench job -- [--images DIR] [--limit N] [--backbone NAME] [--precision P] [--rounds N]

use std::process::Command;

const LAYOUTS: [(&str, &[&str]); 3] = [
    ("1 worker", &["--workers", "1", "--processes", "1"]),
    ("2 workers", &["--workers", "2", "--processes", "1"]),
    ("2 processes", &["--workers", "1", "--processes", "2"]),
];

fn main() {
    // Cargo adds --bench.
    let mut arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let rounds = match arguments.iter().position(|argument| argument == "--rounds") {
        Some(at) => {
            let rounds = arguments.drain(at..at + 2).nth(1);
            rounds
                .and_then(|rounds| rounds.parse().ok())
                .expect("--rounds N")
        }
        None => 3,
    };
    let mut rates = vec![Vec::new(); LAYOUTS.len()];
    for round in 0..rounds {
        for ((name, layout), rates) in LAYOUTS.iter().zip(&mut rates) {
            let out = std::env::temp_dir()
                .join(format!("eigenflow-bench-{}-{round}", std::process::id()));
            let output = Command::new(env!("CARGO_BIN_EXE_eigenflow"))
                .arg("demo")
                .args(&arguments)
                .args(*layout)
                .arg("--out")
                .arg(&out)
                .output()
                .expect("the binary");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            std::fs::remove_dir_all(&out).expect("to clean up");
            let line = text
                .lines()
                .find(|line| line.ends_with("images/s"))
                .expect("a rate");
            println!("{name}: {line}");
            let rate = line
                .rsplit(' ')
                .nth(1)
                .expect("a rate")
                .parse::<f64>()
                .expect("a number");
            rates.push(rate);
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let one = median(&mut rates[0]);
    for ((name, _), rates) in LAYOUTS.iter().zip(&mut rates) {
        let rate = median(rates);
        println!(
            "{name:12} median {rate:7.1} images/s, {:.2} of one worker",
            rate / one
        );
    }
}

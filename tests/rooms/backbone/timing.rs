//! What the benchmarks time.

use super::{of_side, resnet};
use eigenflow::backbone::{BackboneError, Model, bench};

#[test]
fn bench_speaks_the_peers_protocol() {
    let mut output = Vec::new();
    bench::serve(&Model::pixels(), 2, &b"b 3 0\nq\nb 1 0\n"[..], &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert!(
        lines[0].starts_with("ready ") && lines.len() == 2,
        "{output}"
    );
    let (images, seconds) = lines[1].split_once(' ').unwrap();
    assert_eq!(images, "6", "three by each of two workers");
    assert!(seconds.parse::<f64>().unwrap() >= 0.0);
    let nonsense = bench::serve(&Model::pixels(), 1, &b"b many 1\n"[..], Vec::new());
    assert!(matches!(nonsense, Err(BackboneError::Bench(_))));
}

#[test]
fn every_layer_is_timed_once() {
    let model = Model::random(resnet(18), 0, &of_side(32)).unwrap();
    let times = bench::layers(&model, 2);
    // Where the first layers store numbers otherwise than the last, there is a step between them.
    let layers = times.iter().filter(|time| time.name != "rounding");
    assert_eq!(
        layers.count(),
        1 + 1 + 16 + 3 + 1,
        "pixels, stem, 3x3s, shortcuts, pooling"
    );
    assert!(times.iter().all(|t| t.seconds.is_finite()));
    // 1.8 GMAC at 224, without the classifier, by 49.
    let flops: f64 = times.iter().map(|t| t.flops).sum();
    assert!(
        (flops / (2.0 * 1.814e9 / 49.0) - 1.0).abs() < 0.01,
        "{flops}"
    );
}

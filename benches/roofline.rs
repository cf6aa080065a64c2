//! Each layer beside the roof: what it reaches of the micro-kernel's peak on data in the nearest cache, in each precision of this
//! CPU, on one core. The table is Markdown, for benches/README.md. Layers of one shape are one line; operations are those of
//! the direct algorithm, so that Winograd's may go through the roof.
//!
//! cargo bench --bench roofline -- [--network NAME] [--rounds N]

use std::error::Error;

use eigenflow::backbone::bench::{LayerTime, layers, peak};
use eigenflow::backbone::{Architecture, Model, Options, Parameters, Precision};
use eigenflow::job;

/// Layers of one stage, place in their block, algorithm and cost.
struct Alike {
    name: String,
    count: usize,
    seconds: f64,
    flops: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = arguments.iter().position(|a| a == flag)?;
        arguments.get(at + 1)
    };
    let network = Architecture::parse(after("--network").map_or("resnet50", String::as_str))?;
    let rounds = after("--rounds").map_or(Ok(50), |n| n.parse())?;
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let options = Options {
            precision,
            ..Options::default()
        };
        let family = options.chosen_family(network);
        let model = match load(network, &options) {
            Ok(model) => model,
            Err(cause) => {
                println!("\n{precision}: {cause}");
                continue;
            }
        };
        let roof = peak(&model).ok_or("only networks have kernels")?;
        println!(
            "\n{network} {precision} by {family}: {:.0} GFLOP/s at most\n",
            roof / 1e9
        );
        println!("| layer | | us each | GFLOP/s | % of the peak |\n|---|---|---|---|---|");
        let times = layers(&model, rounds);
        for layer in alike(&times) {
            let rate = layer.flops / layer.seconds;
            let each = layer.seconds / layer.count as f64 * 1e6;
            let [gflops, percent] = [rate / 1e9, 100.0 * rate / roof];
            println!(
                "| {} | x{} | {each:.0} | {gflops:.0} | {percent:.0} |",
                layer.name, layer.count
            );
        }
        let seconds: f64 = times.iter().map(|time| time.seconds).sum();
        let flops: f64 = times.iter().map(|time| time.flops).sum();
        let percent = 100.0 * flops / seconds / roof;
        println!(
            "| all | | {:.0} | {:.0} | {percent:.0} |",
            seconds * 1e6,
            flops / seconds / 1e9
        );
        println!("\n{:.1} images/s", 1.0 / seconds);
    }
    Ok(())
}

/// The network with random weights; in int8 calibrated on the demo's pictures, as a job does it.
fn load(network: Architecture, options: &Options) -> Result<Model, Box<dyn Error>> {
    if options.precision != Precision::Int8 {
        return Ok(Model::random(network, 1, options)?);
    }
    let parameters = Parameters::Random(1);
    let calibration = job::calibrate(network, &parameters, options)?;
    Ok(Model::int8(network, &parameters, &calibration, options)?)
}

/// Folds the layers of a stage that differ in their block's number only.
fn alike(times: &[LayerTime]) -> Vec<Alike> {
    let mut found: Vec<Alike> = Vec::new();
    for time in times {
        let name = without_block(&time.name);
        match found
            .iter_mut()
            .find(|l| l.name == name && l.flops == time.flops * l.count as f64)
        {
            Some(layer) => {
                layer.count += 1;
                layer.seconds += time.seconds;
                layer.flops += time.flops;
            }
            None => found.push(Alike {
                name,
                count: 1,
                seconds: time.seconds,
                flops: time.flops,
            }),
        }
    }
    found
}

/// `layer1.0.conv2 3x3/1` as `layer1 conv2 3x3/1`.
fn without_block(name: &str) -> String {
    match name.splitn(3, '.').collect::<Vec<_>>()[..] {
        [stage, block, rest] if block.parse::<u32>().is_ok() => format!("{stage} {rest}"),
        _ => name.to_owned(),
    }
}

//! Whole networks against the papers' descriptions, written down a second time and in f64.

use super::super::network::Network;
use super::super::quantise::Ranges;
use super::super::source::Source;
use super::depthwise::filtered;
use super::ends::{normalised, pixels};
use super::*;
use crate::backbone::{Architecture, Options, Pooling, Preprocessing, ResNet, Strides};

/// A network's weights, and how to convolve with them.
struct Naive<'a>(&'a Source<'a>);

impl Naive<'_> {
    fn conv(&self, x: &Image, conv: &str, norm: Option<&str>, shape: [usize; 3]) -> Image {
        let [cout, k, stride] = shape;
        let folded = self.0.folded(conv, norm, [cout, x.shape[0], k]).unwrap();
        x.convolved(&folded, stride, false)
    }

    fn depthwise(&self, x: &Image, conv: &str, norm: &str, stride: usize) -> Image {
        let channels = x.shape[0];
        let folded = self.0.folded(conv, Some(norm), [channels, 1, 3]).unwrap();
        filtered(x, &folded, stride, false)
    }

    fn resnet(&self, network: ResNet, input: &Image) -> Image {
        let mut x = self.conv(input, "conv1", Some("bn1"), [64, 7, 2]).relu();
        x = x.pooled(3);
        for (stage, blocks) in network.blocks().into_iter().enumerate() {
            for block in 0..blocks {
                let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let layer = |x: &Image, i: usize, shape| {
                    let norm = name(&format!("bn{i}"));
                    self.conv(x, &name(&format!("conv{i}")), Some(&norm), shape)
                };
                let width = 64 << stage;
                let branch = if network.bottleneck() {
                    let (first, second) = match network.strides {
                        Strides::V1 => (stride, 1),
                        Strides::V15 => (1, stride),
                    };
                    let y = layer(&x, 1, [width, 1, first]).relu();
                    let y = layer(&y, 2, [width, 3, second]).relu();
                    layer(&y, 3, [4 * width, 1, 1])
                } else {
                    let y = layer(&x, 1, [width, 3, stride]).relu();
                    layer(&y, 2, [width, 3, 1])
                };
                if branch.shape != x.shape {
                    let norm = name("downsample.1");
                    let shape = [branch.shape[0], 1, stride];
                    x = self.conv(&x, &name("downsample.0"), Some(&norm), shape);
                }
                x = branch.plus(&x).relu();
            }
        }
        x
    }

    fn vgg(&self, input: &Image) -> Image {
        let mut x = input.clone();
        // torchvision's configuration D; 0 is a maximum.
        let layers = [
            64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0,
        ];
        let mut place = 0;
        for channels in layers {
            if channels == 0 {
                x = x.pooled(2);
                place += 1;
            } else {
                let name = format!("features.{place}");
                x = self.conv(&x, &name, None, [channels, 3, 1]).relu();
                place += 2;
            }
        }
        x
    }

    fn mobilenet(&self, input: &Image) -> Image {
        let relu6 = |x: Image| x.activated(Activation::Relu6);
        let norm = Some("features.0.1");
        let mut x = relu6(self.conv(input, "features.0.0", norm, [32, 3, 2]));
        // Every block by itself: expansion, channels, stride.
        let blocks = [
            [1, 16, 1],
            [6, 24, 2],
            [6, 24, 1],
            [6, 32, 2],
            [6, 32, 1],
            [6, 32, 1],
            [6, 64, 2],
            [6, 64, 1],
            [6, 64, 1],
            [6, 64, 1],
            [6, 96, 1],
            [6, 96, 1],
            [6, 96, 1],
            [6, 160, 2],
            [6, 160, 1],
            [6, 160, 1],
            [6, 320, 1],
        ];
        for (i, [expansion, channels, stride]) in (1..).zip(blocks) {
            let name = |part: &str| format!("features.{i}.conv.{part}");
            let mut y = x.clone();
            let (depthwise, last) = if expansion == 1 {
                ("0", ["1", "2"])
            } else {
                let shape = [x.shape[0] * expansion, 1, 1];
                y = relu6(self.conv(&x, &name("0.0"), Some(&name("0.1")), shape));
                ("1", ["2", "3"])
            };
            let [conv, norm] = ["0", "1"].map(|part| name(&format!("{depthwise}.{part}")));
            y = relu6(self.depthwise(&y, &conv, &norm, stride));
            let norm = name(last[1]);
            y = self.conv(&y, &name(last[0]), Some(&norm), [channels, 1, 1]);
            x = if y.shape == x.shape { y.plus(&x) } else { y };
        }
        let norm = Some("features.18.1");
        relu6(self.conv(&x, "features.18.0", norm, [1280, 1, 1]))
    }

    fn features(&self, architecture: Architecture, input: &Image) -> Vec<f64> {
        let x = match architecture {
            Architecture::ResNet(network) => self.resnet(network, input),
            Architecture::MobileNetV2 => self.mobilenet(input),
            Architecture::Vgg16 => self.vgg(input),
        };
        let area = x.shape[1] * x.shape[2];
        let channels = x.values.chunks(area);
        channels
            .map(|c| c.iter().sum::<f64>() / area as f64)
            .collect()
    }
}

/// A network beside its naive twin, on every family and in every precision of floats.
fn check_network(architecture: Architecture, side: usize, preprocessing: Preprocessing) {
    let source = Source::Random(3);
    let pixels = pixels(side);
    let input = normalised(preprocessing, &pixels, side);
    let want = Naive(&source).features(architecture, &input);
    for family in Family::ALL {
        // Activations in two pieces keep 17 bits; where the last map is one pixel, no mean makes up for it.
        let in_f32 = if family == Family::Amx { 2e-5 } else { 1e-5 };
        for (precision, tolerance) in [(Precision::F32, in_f32), (Precision::Bf16, 0.05)] {
            let options = Options {
                family: Some(family),
                side,
                precision,
                preprocessing,
                pooling: Pooling::Avg,
            };
            let Ok(network) = Network::load(architecture, &source, &options, &Ranges::new()) else {
                continue;
            };
            let mut got = vec![0.0; architecture.channels()];
            network.forward(&mut network.arena(), &pixels, &mut got, |_| ());
            let pairs = got.iter().zip(&want);
            let error: f64 = pairs.map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
            let norm: f64 = want.iter().map(|w| w * w).sum();
            let relative = (error / norm).sqrt();
            println!("{architecture} at {side}, {family} {precision}: {relative:.1e}");
            assert!(
                relative <= tolerance,
                "{architecture} at {side}, {family} {precision}: {relative}"
            );
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many products to interpret")]
fn whole_networks_are_the_naive_ones_in_f64() {
    let resnet = Architecture::resnet;
    for (architecture, side, preprocessing) in [
        (resnet(18, Strides::V15), 32, Preprocessing::Torchvision),
        (resnet(18, Strides::V15), 96, Preprocessing::Tf),
        (resnet(50, Strides::V1), 32, Preprocessing::Caffe),
        (resnet(50, Strides::V15), 64, Preprocessing::Torchvision),
        (Architecture::Vgg16, 32, Preprocessing::Torchvision),
        (Architecture::Vgg16, 32, Preprocessing::Caffe),
        (Architecture::MobileNetV2, 32, Preprocessing::Tf),
        (Architecture::MobileNetV2, 64, Preprocessing::Torchvision),
    ] {
        check_network(architecture, side, preprocessing);
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    #[cfg_attr(miri, ignore = "too many products to interpret")]
    fn whole_networks_of_any_side_are_the_naive_ones_in_f64(side in 33..100usize) {
        check_network(Architecture::MobileNetV2, side, Preprocessing::Torchvision);
        check_network(Architecture::resnet(18, Strides::V15), side, Preprocessing::Caffe);
        let strides = [Strides::V1, Strides::V15][side % 2];
        // Smaller, as naive arithmetic takes its time.
        let smaller = |by: usize| 33 + (side - 33) / by;
        check_network(Architecture::resnet(50, strides), smaller(2), Preprocessing::Tf);
        check_network(Architecture::Vgg16, smaller(4), Preprocessing::Torchvision);
    }
}

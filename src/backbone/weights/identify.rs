//! Which network a safetensors file is of, by the names and shapes of its tensors. Only the header is read.

use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

use super::catalogue::Network;
use crate::backbone::architecture::{ResNet, Strides};

/// The network, or why the bytes are not the weights of one. v1 and v1.5 have the same tensors: the file's metadata entry
/// `strides` (`v1` or `v1.5`) decides, and torchvision's v1.5 is assumed where there is none.
pub(super) fn identify(bytes: &[u8]) -> Result<Network, String> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|cause| format!("it is no whole safetensors file: {cause}"))?;
    if header.info("layer1.0.conv1.weight").is_some() {
        return resnet(&header).map(Network::ResNet);
    }
    let shape = |name: &str| header.info(name).map(|info| info.shape.as_slice());
    if shape("features.18.0.weight") == Some(&[1280, 320, 1, 1]) {
        return Ok(Network::MobileNetV2);
    }
    if shape("features.28.weight") == Some(&[512, 512, 3, 3]) {
        return Ok(Network::Vgg16);
    }
    Err(
        "its tensors are not named as torchvision names those of a ResNet, MobileNetV2 or VGG-16"
            .into(),
    )
}

fn resnet(header: &Metadata) -> Result<ResNet, String> {
    let count = |layer: usize| {
        (0..)
            .take_while(|block| {
                header
                    .info(&format!("layer{layer}.{block}.conv1.weight"))
                    .is_some()
            })
            .count()
    };
    let blocks = [1, 2, 3, 4].map(count);
    let bottleneck = header.info("layer1.0.conv3.weight").is_some();
    let said = header
        .metadata()
        .as_ref()
        .and_then(|said| said.get("strides"));
    let strides = match said.map(String::as_str) {
        None | Some("v1.5") => Strides::V15,
        Some("v1") => Strides::V1,
        Some(other) => {
            return Err(format!(
                "its metadata says strides `{other}`, neither v1 nor v1.5"
            ));
        }
    };
    [18, 34, 50, 101, 152]
        .map(|depth| ResNet { depth, strides })
        .into_iter()
        .find(|resnet| resnet.blocks() == blocks && resnet.bottleneck() == bottleneck)
        .ok_or_else(|| format!("no ResNet has {blocks:?} blocks a stage"))
}

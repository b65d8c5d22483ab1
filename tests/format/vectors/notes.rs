//! 15 notes.

use redkeep::format::note::{Body, Drill, Loss, Note, Read};
use redkeep::format::object::SnapshotName;
use redkeep::format::{ChunkId, KeysDigest, ObjectHash, UnixMillis};

use super::vector::{Fields, Vector, array, text};

fn body(fields: Fields<'_>) -> Body {
    if fields.maybe("sort").is_some() {
        return Body::Other(fields.number("sort"));
    }
    if fields.maybe("snapshot").is_some() {
        return Body::Drill(Drill {
            snapshot: SnapshotName::parse(fields.text("snapshot")).unwrap(),
            server: fields.text("server").into(),
            keys: fields.number("keys"),
            fault: fields.maybe("fault").map(text),
            digest: fields.maybe("digest").map(|digest| KeysDigest(array(digest))),
        });
    }
    if fields.maybe("reads").is_none() {
        return Body::Loss(Loss {
            packs: fields.list("packs").iter().map(|pack| ObjectHash(array(pack))).collect(),
            chunks: fields.list("chunks").iter().map(|chunk| ChunkId(array(chunk))).collect(),
            objects: fields.list("objects").iter().map(text).collect(),
        });
    }
    let read = |read: Fields<'_>| Read { pack: ObjectHash(read.array("pack")), fault: read.maybe("fault").map(text) };
    Body::Check(fields.structures("reads").map(read).collect())
}

pub fn note(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| Note {
        time: UnixMillis(fields.number("time")),
        host: fields.text("host").into(),
        body: body(fields),
    };
    vector.codec(build, Note::encode, Note::decode)
}

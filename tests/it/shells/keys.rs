//! The script that lets a key log in.

use std::{fs, os::unix::fs::PermissionsExt as _};

use o3r_deploy::internal::device::add_key_to_file;

use super::{sandbox, shells};

#[tokio::test]
async fn a_key_is_added_to_those_of_others_and_once() {
    for shell in shells() {
        let fixture = sandbox(shell, &[]);
        let file = fixture.home().join(".ssh/authorized_keys");
        let add = async |key: &str| {
            let added = add_key_to_file(&fixture.host, key).await.unwrap();
            assert!(added.success(), "{shell:?} {added:?}");
            fs::read_to_string(&file).unwrap()
        };
        assert_eq!(
            add("ssh-ed25519 AAAA me@pc").await,
            "ssh-ed25519 AAAA me@pc\n"
        );
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let others = "ssh-rsa BBBB it's \"a\"\nfrom=\"10.0.0.1\" ssh-rsa CCCC b";
        fs::write(&file, others).unwrap();
        let all = format!("{others}\nssh-ed25519 AAAA me@pc\n");
        assert_eq!(add("ssh-ed25519 AAAA me@pc").await, all);
        assert_eq!(add("ssh-ed25519 AAAA another comment").await, all);
        assert_eq!(add("ssh-rsa CCCC").await, all);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}

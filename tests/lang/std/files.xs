// expect {"text": "abc"}: {"file":{"name":"notes.txt","size":3,"mime":"text/plain"},"name":"kept.txt","access":"private","data":"abc","signed":true,"gone":"ERROR_CODE_NOT_FOUND"}
function "files" {
  input {
    text text
  }
  stack {
    storage.create_file_resource {
      filename = "notes.txt"
      filedata = $input.text
    } as $file
    storage.create_attachment {
      value = $file
      access = "private"
      filename = "../kept.txt"
    } as $stored
    storage.read_file_resource {
      value = $stored
    } as $read
    storage.sign_private_url {
      pathname = $stored.path
      ttl = 60
    } as $url
    storage.delete_file {
      pathname = $stored.path
    }
    try_catch {
      try {
        storage.read_file_resource {
          value = $stored.path
        } as $none
      }
      catch {
        var $gone {
          value = $error.code
        }
      }
    }
  }
  response = {file: $file, name: $stored.name, access: $stored.access, data: $read.data, signed: ($url|contains:"&sig="), gone: $gone}
}

// expect {"password": null}: {"list":[{"name":"a.txt","size":5},{"name":"d/b.txt","size":3}],"left":["d/b.txt"],"data":"two","bad":"ERROR_FATAL"}
// expect {"password": "secret"}: {"list":[{"name":"a.txt","size":5},{"name":"d/b.txt","size":3}],"left":["d/b.txt"],"data":"two","bad":"ERROR_FATAL"}
function "zip" {
  input {
    text? password?
  }
  stack {
    zip.create_archive {
      filename = "all.zip"
    } as $zip
    storage.create_file_resource {
      filename = "a.txt"
      filedata = "first"
    } as $a
    storage.create_file_resource {
      filename = "b.txt"
      filedata = "two"
    } as $b
    zip.add_to_archive {
      file = $a
      zip = $zip
      password = $input.password
    }
    zip.add_to_archive {
      file = $b
      zip = $zip
      filename = "d/b.txt"
      password = $input.password
    }
    zip.view_contents {
      zip = $zip
    } as $list
    zip.delete_from_archive {
      filename = "a.txt"
      zip = $zip
      password = $input.password
    }
    zip.extract {
      zip = $zip
      password = $input.password
    } as $files
    storage.read_file_resource {
      value = $files|first
    } as $read
    var $bad {
      value = null
    }
    try_catch {
      try {
        zip.add_to_archive {
          file = $a
          zip = $zip
          filename = "../x"
        }
      }
      catch {
        var.update $bad {
          value = $error.code
        }
      }
    }
  }
  response = {list: $list, left: $files|get:"name", data: $read.data, bad: $bad}
}

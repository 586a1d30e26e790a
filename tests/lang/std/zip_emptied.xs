// The archive that the last member left is empty and takes others.
// expect {"text": "abc"}: {"empty":[],"again":["b.txt"]}
function "zip_emptied" {
  input {
    text text
  }
  stack {
    storage.create_file_resource {
      filename = "a.txt"
      filedata = $input.text
    } as $file
    zip.create_archive {
      filename = "z.zip"
    } as $zip
    zip.add_to_archive {
      file = $file
      zip = $zip
    }
    zip.delete_from_archive {
      filename = "a.txt"
      zip = $zip
    }
    zip.view_contents {
      zip = $zip
    } as $empty
    zip.add_to_archive {
      file = $file
      zip = $zip
      filename = "b.txt"
    }
    zip.view_contents {
      zip = $zip
    } as $again
  }
  response = {empty: $empty, again: $again|get:"name"}
}
